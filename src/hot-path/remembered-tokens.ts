/**
 * Tokens that were verified, so that it is done once: bounded in number and in bytes, those not seen for longest leave
 * first. They are found by the last characters of their signature, which differ as well as any hash would, and then
 * compared as a whole. What is known of one is one object, for looking it up is mostly waiting for memory.
 */
import type { Hashed } from './hashed.ts';

/**
 * In each of two generations: when the young one is full it becomes the old one, and what was old is forgotten. So
 * many tokens that come again in turn are all known, and at most twice as many are kept.
 */
const TOKENS_MAX = 100_000;
const BYTES_MAX = 32 * 1024 * 1024;
/** 48 bits of a signature in base64url, or nearly so. */
const ENDING = 8;
/** What a token takes besides its text. */
const OVERHEAD_BYTES = 150;

/** Whose it is. */
export interface Remembered extends Hashed {
  /** The header as it was sent. */
  authorization: string;
  /** The token's `exp`, seconds; without one it does not expire. */
  expiresAt: number;
}

export class RememberedTokens {
  #young = new Map<number, Remembered>();
  #old = new Map<number, Remembered>();
  #youngBytes = 0;

  get(authorization: string): Remembered | undefined {
    const ending = endingOf(authorization);
    let known = this.#young.get(ending);
    if (known === undefined) {
      known = this.#old.get(ending);
      if (known?.authorization === authorization) this.#keep(ending, known);
    }
    return known?.authorization === authorization ? known : undefined;
  }

  add(token: Remembered): void {
    this.#keep(endingOf(token.authorization), token);
  }

  #keep(ending: number, token: Remembered): void {
    if (this.#young.size >= TOKENS_MAX || this.#youngBytes >= BYTES_MAX) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(ending, token);
    this.#youngBytes += token.authorization.length + OVERHEAD_BYTES;
  }
}

function endingOf(authorization: string): number {
  const { length } = authorization;
  let hash = 0;
  for (let i = Math.max(0, length - ENDING); i < length; i++) {
    hash = Math.imul(hash, 0x01000193) ^ authorization.charCodeAt(i);
  }
  return hash;
}
