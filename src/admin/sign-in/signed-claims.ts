/**
 * Claims signed by this process or another admin, as a JWT. Each token of ADMIN_TOKENS has a key of its own, derived from
 * it, so claims are valid exactly as long as their token is configured, on every admin that has it. The owner of a token
 * could sign only claims about that token.
 */
import { hkdfSync } from 'node:crypto';
import { createDecoder, createSigner, createVerifier } from 'fast-jwt';
import type { AdminToken } from '../../config.ts';
import type { Principal } from '../context.ts';
import { principalOf } from './authenticate.ts';

const KEY_BYTES = 32;

interface Key {
  principal: Principal;
  sign: (claims: object) => string;
  verify: (text: string) => unknown;
}

export class SignedClaims<Claims extends object> {
  readonly #keys = new Map<string, Key>();
  readonly #decode = createDecoder({ complete: true });

  /** Claims that were signed for one purpose are not valid for another one. */
  constructor(tokens: readonly AdminToken[], purpose: string) {
    for (const token of tokens) {
      const principal = principalOf(token);
      const derived = hkdfSync('sha256', token.token, '', `flash-sale ${purpose}`, KEY_BYTES);
      const key = Buffer.from(derived);
      this.#keys.set(principal.actor, {
        principal,
        sign: createSigner({ algorithm: 'HS256', key, kid: principal.actor }),
        verify: createVerifier({ algorithms: ['HS256'], key, requiredClaims: ['iat', 'exp'] }),
      });
    }
  }

  sign(principal: Principal, claims: Claims, endsAtSeconds: number): string {
    return this.#keys.get(principal.actor)!.sign({ ...claims, exp: endsAtSeconds });
  }

  /** Undefined: not signed by an admin with the same token, or expired. */
  verify(text: string): { principal: Principal; claims: Claims & Times } | undefined {
    try {
      const { header } = this.#decode(text) as { header: { kid?: string } };
      const key = this.#keys.get(String(header.kid));
      return key && { principal: key.principal, claims: key.verify(text) as Claims & Times };
    } catch {
      return undefined;
    }
  }
}

/** In seconds since 1970. */
interface Times {
  iat: number;
  exp: number;
}
