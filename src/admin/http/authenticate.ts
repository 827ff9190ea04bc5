/**
 * Bearer tokens of the admin. A token is compared with all configured ones in constant time, so that neither response
 * times nor logs reveal anything about a token.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdminToken, Role } from '../../config.ts';

export interface Principal {
  role: Role;
  /** Identifies the token in logs and audit: its role and the first 8 hex digits of its SHA-256. */
  actor: string;
}

const RANK: Record<Role, number> = { viewer: 0, merchant: 1, operator: 2 };

export function includesRole(role: Role, required: Role): boolean {
  return RANK[role] >= RANK[required];
}

/** Maps an `Authorization` header to its principal, or to undefined. */
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
      // No early exit: the time must not depend on which token matched, or on whether one did.
      if (timingSafeEqual(candidate.digest, digest)) found = candidate.principal;
    }
    return found;
  };
}

/** timingSafeEqual requires equal lengths, which digests have and tokens do not. */
function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
