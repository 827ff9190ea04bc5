/**
 * The codes of sign-in links. A code works once and for five minutes. Redis has its hash, with the claim that it is
 * exchanged for; the claim is signed, so nobody who can write to Redis can make a code.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { AdminToken } from '../../config.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Principal } from '../context.ts';
import { RedisTexts } from './redis-texts.ts';
import { SignedClaims } from './signed-claims.ts';

const VALID_SECONDS = 300;
const CODE_BYTES = 32;

export class SignInCodes {
  readonly #signed: SignedClaims<{ hash: string }>;
  readonly #stored: RedisTexts;

  constructor(tokens: readonly AdminToken[], shards: Shards) {
    this.#signed = new SignedClaims(tokens, 'sign-in link');
    this.#stored = new RedisTexts(shards, 'sign-in');
  }

  /** Throws the faults of a call to Redis. */
  async create(principal: Principal): Promise<{ code: string; expiresAt: Date }> {
    const code = randomBytes(CODE_BYTES).toString('base64url');
    const hash = hashOf(code);
    const endsAtSeconds = Math.floor(Date.now() / 1000) + VALID_SECONDS;
    const claim = this.#signed.sign(principal, { hash }, endsAtSeconds);
    await this.#stored.set(hash, claim, VALID_SECONDS);
    return { code, expiresAt: new Date(endsAtSeconds * 1000) };
  }

  /** Undefined: used before, expired, never made, or its token was removed. Throws the faults of a call to Redis. */
  async use(code: string): Promise<Principal | undefined> {
    const hash = hashOf(code);
    const claim = await this.#stored.take(hash);
    const signed = claim === null ? undefined : this.#signed.verify(claim);
    return signed?.claims.hash === hash ? signed.principal : undefined;
  }
}

function hashOf(code: string): string {
  return createHash('sha256').update(code).digest('hex');
}
