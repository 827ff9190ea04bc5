/** Who is buying: the `sub` of a signed token, or, behind a gateway that has checked already, a header. */

import type { HttpRequest } from 'uWebSockets.js';
import { createPublicKey } from 'node:crypto';
import { type Algorithm, createVerifier } from 'fast-jwt';
import { LRUCache } from 'lru-cache';
import type { HotPathConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../domain/identifiers.ts';

/** Verified tokens kept in memory, least recently used leave first; bounded in number and in bytes. */
const REMEMBERED_MAX = 100_000;
const REMEMBERED_BYTES_MAX = 64 * 1024 * 1024;

interface Remembered {
  buyerId: string;
  /** From the token's `exp`, ms; a token without one does not expire. */
  expiresAt: number;
}

/** Undefined: nobody we know. */
export type Authenticate = (request: Pick<HttpRequest, 'getHeader'>) => string | undefined;

export function createAuthenticate(
  config: Pick<HotPathConfig, 'BUYER_AUTH' | 'JWT_SECRET' | 'JWT_PUBLIC_KEY'>,
): Authenticate {
  if (config.BUYER_AUTH === 'header')
    return (request) => buyerIdOf(request.getHeader('x-buyer-id'));

  const verifiers = [
    ...(config.JWT_SECRET
      ? [createVerifier({ key: config.JWT_SECRET, algorithms: ['HS256'] })]
      : []),
    ...(config.JWT_PUBLIC_KEY
      ? [
          createVerifier({
            key: config.JWT_PUBLIC_KEY,
            algorithms: algorithmsOf(config.JWT_PUBLIC_KEY),
          }),
        ]
      : []),
  ];
  const remembered = new LRUCache<string, Remembered>({
    max: REMEMBERED_MAX,
    maxSize: REMEMBERED_BYTES_MAX,
    sizeCalculation: (_buyer, token) => token.length + 100,
  });
  return (request) => {
    const authorization = request.getHeader('authorization');
    if (authorization.length < 8 || authorization.slice(0, 7).toLowerCase() !== 'bearer ') {
      return undefined;
    }
    const token = authorization.slice(7);
    const known = remembered.get(token);
    if (known && Date.now() < known.expiresAt) return known.buyerId;
    const verified = verify(token, verifiers);
    if (verified) remembered.set(token, verified);
    return verified?.buyerId;
  };
}

/** By the first key that has signed it; a token that none has signed, or that is not valid now, is nobody's. */
function verify(
  token: string,
  verifiers: ((token: string) => { sub?: unknown; exp?: number })[],
): Remembered | undefined {
  for (const verifyWithKey of verifiers) {
    try {
      const claims = verifyWithKey(token);
      const buyerId = buyerIdOf(claims.sub);
      if (buyerId === undefined) return undefined;
      return { buyerId, expiresAt: (claims.exp ?? Number.POSITIVE_INFINITY) * 1_000 };
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
        `JWT_PUBLIC_KEY is of type ${key.asymmetricKeyType}; use RSA, EC P-256 or Ed25519.`,
      );
  }
}

function buyerIdOf(value: unknown): string | undefined {
  return typeof value === 'string' && VISIBLE_ASCII_64.test(value) ? value : undefined;
}
