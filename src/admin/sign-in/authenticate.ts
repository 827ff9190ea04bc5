/**
 * The tokens of the admin. A token is compared with all configured ones in constant time, so that neither response times
 * nor logs reveal anything about a token.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdminToken, Role } from '../../config.ts';
import type { Principal } from '../context.ts';

const RANK: Record<Role, number> = { viewer: 0, merchant: 1, operator: 2 };

export function includesRole(role: Role, required: Role): boolean {
  return RANK[role] >= RANK[required];
}

export type Authenticate = (token: string) => Principal | undefined;

/** Maps a token to its principal, or to undefined. */
export function createAuthenticator(tokens: readonly AdminToken[]): Authenticate {
  const known = tokens.map((token) => ({
    digest: digestOf(token.token),
    principal: principalOf(token),
  }));
  return (token) => {
    const digest = digestOf(token);
    let found: Principal | undefined;
    for (const candidate of known) {
      // No early exit: the time must not depend on which token matched, or on whether one did.
      if (timingSafeEqual(candidate.digest, digest)) found = candidate.principal;
    }
    return found;
  };
}

export function principalOf({ role, token }: AdminToken): Principal {
  return { role, actor: `${role}:${digestOf(token).toString('hex').slice(0, 8)}` };
}

/** The token of an `Authorization` header; undefined if the header is malformed. */
export function bearerTokenOf(authorization: string): string | undefined {
  const [scheme, token, ...rest] = authorization.split(' ');
  return scheme?.toLowerCase() === 'bearer' && token && rest.length === 0 ? token : undefined;
}

/** timingSafeEqual requires equal lengths, which digests have and tokens do not. */
function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
