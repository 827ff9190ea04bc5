/** Who is buying: the `sub` of a signed token, or, behind a gateway that has checked already, a header. */

import { createPublicKey } from 'node:crypto';
import { type Algorithm, createVerifier } from 'fast-jwt';
import type { HotPathConfig } from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../../domain/identifiers.ts';
import { type HashedName, hashName } from './hashed-name.ts';
import { TokenCache } from './token-cache.ts';

/** What a request shows, the headers as they came; empty: not sent. */
export interface Credentials {
  authorization: string;
  /** `X-Buyer-Id`. */
  buyerId: string;
}

interface Claims {
  sub?: unknown;
  exp?: number;
}

/** Undefined: nobody we know. */
export type Authenticate = (shown: Credentials) => HashedName | undefined;

type AuthenticateConfig = Pick<
  HotPathConfig,
  | 'BUYER_AUTH'
  | 'JWT_SECRET'
  | 'JWT_SECRET_PREVIOUS'
  | 'JWT_PUBLIC_KEY'
  | 'JWT_PUBLIC_KEY_PREVIOUS'
  | 'JWT_ISSUER'
  | 'JWT_AUDIENCE'
>;

export function createAuthenticate(config: AuthenticateConfig): Authenticate {
  if (config.BUYER_AUTH === 'header') return (shown) => buyerOf(shown.buyerId);

  const verifiers = verifiersOf(config);
  const remembered = new TokenCache();
  return ({ authorization }) => {
    const known = remembered.get(authorization);
    // One that has expired is verified again, and refused.
    if (known && Date.now() < known.expiresAt * 1_000) return known;
    if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
    const claims = verify(authorization.slice(7), verifiers);
    const buyer = buyerOf(claims?.sub);
    if (buyer === undefined) return undefined;
    const expiresAt = claims?.exp ?? Number.POSITIVE_INFINITY;
    remembered.add({ ...buyer, authorization, expiresAt });
    return buyer;
  };
}

/** One for each key. While keys are being changed there are two of a kind, and what either has signed counts. */
function verifiersOf(config: AuthenticateConfig) {
  const { JWT_ISSUER, JWT_AUDIENCE } = config;
  const claims = {
    ...(JWT_ISSUER ? { allowedIss: JWT_ISSUER } : {}),
    ...(JWT_AUDIENCE ? { allowedAud: JWT_AUDIENCE } : {}),
    // Otherwise a token that lacks the claim would pass: only a wrong one is looked at.
    requiredClaims: ['sub', ...(JWT_ISSUER ? ['iss'] : []), ...(JWT_AUDIENCE ? ['aud'] : [])],
  };
  const secrets = [config.JWT_SECRET, config.JWT_SECRET_PREVIOUS];
  const publicKeys = [config.JWT_PUBLIC_KEY, config.JWT_PUBLIC_KEY_PREVIOUS];
  return [
    ...secrets
      .filter((key) => key !== undefined)
      .map((key) => createVerifier({ ...claims, key, algorithms: ['HS256'] })),
    ...publicKeys
      .filter((key) => key !== undefined)
      .map((key) => createVerifier({ ...claims, key, algorithms: algorithmsOf(key) })),
  ];
}

/** By the first key that has signed it; a token that none has signed, or that is not valid now, is nobody's. */
function verify(token: string, verifiers: ((token: string) => Claims)[]): Claims | undefined {
  for (const verifyWithKey of verifiers) {
    try {
      return verifyWithKey(token);
    } catch {
      // Not by this key: the next one may have signed it.
    }
  }
  return undefined;
}

/** The key decides what may be signed with it, never the token. */
function algorithmsOf(pem: string): Algorithm[] {
  const key = createPublicKey(pem);
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return ['RS256', 'PS256'];
    case 'ec':
      return ['ES256'];
    case 'ed25519':
      return ['EdDSA'];
    default:
      throw new Fault(
        'config_invalid',
        `A JWT public key is of type ${key.asymmetricKeyType}; use RSA, EC P-256 or Ed25519.`,
      );
  }
}

function buyerOf(value: unknown): HashedName | undefined {
  return typeof value === 'string' && VISIBLE_ASCII_64.test(value) ? hashName(value) : undefined;
}
