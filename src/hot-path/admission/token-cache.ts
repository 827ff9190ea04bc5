/**
 * Tokens that were verified, so that it is done once: bounded in number and in bytes, those not seen for longest leave
 * first. They are found by a number made of the last characters of their signature, which are as good as random, and then
 * compared as a whole. What is known of one is one object, for looking it up is mostly waiting for memory.
 */
import type { HashedName } from './hashed-name.ts';

/**
 * In each of two generations: when the young one is full it becomes the old one, and what was old is forgotten. So
 * many tokens that come again in turn are all known, and at most twice as many are kept.
 */
const TOKENS_MAX = 100_000;
const BYTES_MAX = 32 * 1024 * 1024;
/** Characters; more tell no more, for what they are made into has 32 bits. */
const ENDING = 8;
/** What a token takes besides its text. */
const OVERHEAD_BYTES = 150;

/** Whose it is. */
export interface CachedToken extends HashedName {
  /** The header as it was sent. */
  authorization: string;
  /** The token's `exp`, seconds; without one it does not expire. */
  expiresAt: number;
}

export class TokenCache {
  #young = new Map<number, CachedToken>();
  #old = new Map<number, CachedToken>();
  #youngBytes = 0;

  get(authorization: string): CachedToken | undefined {
    const ending = endingOf(authorization);
    let known = this.#young.get(ending);
    if (known === undefined) {
      known = this.#old.get(ending);
      if (known?.authorization === authorization) this.#keep(ending, known);
    }
    return known?.authorization === authorization ? known : undefined;
  }

  add(token: CachedToken): void {
    this.#keep(endingOf(token.authorization), token);
  }

  #keep(ending: number, token: CachedToken): void {
    if (this.#young.size >= TOKENS_MAX || this.#youngBytes >= BYTES_MAX) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    const replaced = this.#young.get(ending);
    if (replaced) this.#youngBytes -= bytesOf(replaced);
    this.#young.set(ending, token);
    this.#youngBytes += bytesOf(token);
  }
}

function bytesOf({ authorization }: CachedToken): number {
  return authorization.length + OVERHEAD_BYTES;
}

function endingOf(authorization: string): number {
  const { length } = authorization;
  let hash = 0;
  for (let i = Math.max(0, length - ENDING); i < length; i++) {
    hash = Math.imul(hash, 0x01000193) ^ authorization.charCodeAt(i);
  }
  return hash;
}
