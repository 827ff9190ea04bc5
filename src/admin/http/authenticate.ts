/**
 * Who is calling the admin: a bearer token, compared in constant time with every token there is, so that neither
 * the time of an answer nor a log says anything about a token.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdminToken, Role } from '../../config.ts';

export interface Principal {
  role: Role;
  /** Names the token in logs and audit without giving it away: its role and the first 8 hex digits of its SHA-256. */
  actor: string;
}

const RANK: Record<Role, number> = { viewer: 0, merchant: 1, operator: 2 };

/** Whether a role includes another one. */
export function includesRole(role: Role, wanted: Role): boolean {
  return RANK[role] >= RANK[wanted];
}

/** Takes an `Authorization` header to the principal behind it, or to undefined. */
export function createAuthenticator(
  tokens: readonly AdminToken[],
): (authorization: string | undefined) => Principal | undefined {
  const known = tokens.map(({ role, token }) => {
    const digest = digestOf(token);
    return { digest, principal: { role, actor: `${role}:${digest.toString('hex').slice(0, 8)}` } };
  });
  return (authorization) => {
    const [scheme, token, ...rest] = authorization?.split(' ') ?? [];
    if (scheme?.toLowerCase() !== 'bearer' || !token || rest.length > 0) return undefined;
    const digest = digestOf(token);
    let found: Principal | undefined;
    for (const candidate of known) {
      // No early end: the time must not depend on which token matched, nor on whether one did.
      if (timingSafeEqual(candidate.digest, digest)) found = candidate.principal;
    }
    return found;
  };
}

/** Digests have one length, which timingSafeEqual demands and tokens have not. */
function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
