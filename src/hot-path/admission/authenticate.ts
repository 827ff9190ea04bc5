/** Authenticates buyers: by the `sub` of a signed token, or by a header that a trusted gateway sets. */
import { createPublicKey } from 'node:crypto';
import { type Algorithm, createVerifier, TOKEN_ERROR_CODES } from 'fast-jwt';
import type { HotPathConfig } from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../../domain/identifiers.ts';
import { type HashedBuyer, hashBuyer } from './hashed-name.ts';
import { createOrdinaryVerifier, type VerifyOrdinary } from './hs256.ts';
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

/** Why credentials were rejected. `invalid`: missing, malformed, or signed with another key. */
export type CredentialsProblem = 'expired' | 'not_yet_valid' | 'invalid';

export type Authenticate = (credentials: Credentials) => HashedBuyer | CredentialsProblem;

type AuthenticateConfig = Pick<
  HotPathConfig,
  | 'BUYER_AUTH'
  | 'JWT_SECRET'
  | 'JWT_SECRET_PREVIOUS'
  | 'JWT_PUBLIC_KEY'
  | 'JWT_PUBLIC_KEY_PREVIOUS'
  | 'JWT_ISSUER'
  | 'JWT_AUDIENCE'
  | 'JWT_LEEWAY_SECONDS'
>;

export function createAuthenticate(config: AuthenticateConfig): Authenticate {
  if (config.BUYER_AUTH === 'header') return ({ buyerId }) => buyerOf(buyerId);

  const verifyOrdinary = ordinaryVerifierOf(config);
  const verifiers = verifiersOf(config);
  const cache = new TokenCache();
  return ({ authorization }) => {
    const known = cache.get(authorization);
    // An expired token is verified again, which rejects it.
    if (known && Date.now() < known.expiresAt * 1_000) return known;
    if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return 'invalid';
    const token = authorization.slice(7);
    const claims = verifyOrdinary(token) ?? verify(token, verifiers);
    if (typeof claims === 'string') return claims;
    const buyer = buyerOf(claims.sub);
    if (typeof buyer === 'string') return buyer;
    const expiresAt = (claims.exp ?? Number.POSITIVE_INFINITY) + config.JWT_LEEWAY_SECONDS;
    if (cache.isSeenAgain(authorization)) cache.add({ ...buyer, authorization, expiresAt });
    return buyer;
  };
}

/** Verifies ordinary tokens of the current secret; the library decides on all others. */
function ordinaryVerifierOf(config: AuthenticateConfig): VerifyOrdinary {
  if (config.JWT_SECRET === undefined) return () => undefined;
  const expected = { issuer: config.JWT_ISSUER, audience: config.JWT_AUDIENCE };
  return createOrdinaryVerifier(config.JWT_SECRET, expected);
}

/** One verifier per key. During a key rotation, tokens signed by the previous key are valid too. */
function verifiersOf(config: AuthenticateConfig) {
  const { JWT_ISSUER, JWT_AUDIENCE } = config;
  const claims = {
    // The clocks of the shop and of this machine may differ.
    clockTolerance: config.JWT_LEEWAY_SECONDS * 1_000,
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

function verify(
  token: string,
  verifiers: ((token: string) => Claims)[],
): Claims | CredentialsProblem {
  let problem: CredentialsProblem = 'invalid';
  for (const verifyWithKey of verifiers) {
    try {
      return verifyWithKey(token);
    } catch (error) {
      // The signature is checked before the times, so these codes tell nothing about a forged token.
      const { code } = error as { code?: string };
      if (code === TOKEN_ERROR_CODES.expired) problem = 'expired';
      else if (code === TOKEN_ERROR_CODES.inactive) problem = 'not_yet_valid';
      // Otherwise another key may have signed it.
    }
  }
  return problem;
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

function buyerOf(value: unknown): HashedBuyer | 'invalid' {
  return typeof value === 'string' && VISIBLE_ASCII_64.test(value) ? hashBuyer(value) : 'invalid';
}
