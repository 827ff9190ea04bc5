/** Authenticates buyers: by the `sub` of a signed token, or by a header that a trusted gateway sets. */
import { createPublicKey } from 'node:crypto';
import { type Algorithm, createVerifier } from 'fast-jwt';
import type { HotPathConfig } from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../../domain/identifiers.ts';
import { type HashedName, hashName } from './hashed-name.ts';
import { TokenCache } from './token-cache.ts';

/** The headers of a request, unparsed; empty if not sent. */
export interface Credentials {
  authorization: string;
  /** `X-Buyer-Id`. */
  buyerId: string;
}

interface Claims {
  sub?: unknown;
  exp?: number;
}

/** Undefined: the credentials are missing or invalid. */
export type Authenticate = (credentials: Credentials) => HashedName | undefined;

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
  if (config.BUYER_AUTH === 'header') return ({ buyerId }) => buyerOf(buyerId);

  const verifiers = verifiersOf(config);
  const cache = new TokenCache();
  return ({ authorization }) => {
    const known = cache.get(authorization);
    // An expired token is verified again, which rejects it.
    if (known && Date.now() < known.expiresAt * 1_000) return known;
    if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
    const claims = verify(authorization.slice(7), verifiers);
    const buyer = buyerOf(claims?.sub);
    if (buyer === undefined) return undefined;
    const expiresAt = claims?.exp ?? Number.POSITIVE_INFINITY;
    cache.add({ ...buyer, authorization, expiresAt });
    return buyer;
  };
}

/** One verifier per key. During a key rotation, tokens signed by the previous key are valid too. */
function verifiersOf(config: AuthenticateConfig) {
  const { JWT_ISSUER, JWT_AUDIENCE } = config;
  const claims = {
    ...(JWT_ISSUER ? { allowedIss: JWT_ISSUER } : {}),
    ...(JWT_AUDIENCE ? { allowedAud: JWT_AUDIENCE } : {}),
    // fast-jwt compares a claim only if it is present, so a token without it must be rejected here.
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

/** Undefined: no key has signed the token, or it is not valid now. */
function verify(token: string, verifiers: ((token: string) => Claims)[]): Claims | undefined {
  for (const verifyWithKey of verifiers) {
    try {
      return verifyWithKey(token);
    } catch {
      // Another key may have signed it.
    }
  }
  return undefined;
}

/** The type of the key decides which algorithms are allowed, never the token. */
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
