/**
 * Verified tokens, bounded in number and in bytes; the least recently used ones are evicted first. The key is a hash of
 * the last characters of the signature, which are random; a hit then compares the whole header. A token is kept from
 * its second sight on, so that the many that come once leave nothing behind.
 *
 * Hand-written because a lookup is mostly cache misses, and hashing a whole header adds to them. Measured in alternating
 * runs with shuffled tokens of 149 characters, against lru-cache with the same bounds. It takes 1.6 times as long with
 * 50,000 buyers (2.4 µs more per request), and 2.9 times as long with 1,000.
 */
import type { HashedBuyer } from './hashed-name.ts';

/** Per generation. A full young generation becomes the old one, and the old one is dropped. */
const TOKENS_MAX = 100_000;
const BYTES_MAX = 32 * 1024 * 1024;
/** Enough for a hash of 32 bits. */
const HASHED_CHARACTERS = 8;
/** The memory of an entry besides the text of its token. */
const OVERHEAD_BYTES = 150;
/** Hashes of tokens that were seen last, one for each slot: 1 MiB. */
const SEEN_SLOTS = 2 ** 18;

export interface CachedToken extends HashedBuyer {
  /** The whole header. */
  authorization: string;
  /** The token's `exp` in seconds; infinite if it has none. */
  expiresAt: number;
}

export class TokenCache {
  #young = new Map<number, CachedToken>();
  #old = new Map<number, CachedToken>();
  #youngBytes = 0;
  readonly #seen = new Int32Array(SEEN_SLOTS);

  get(authorization: string): CachedToken | undefined {
    const key = hashOf(authorization);
    let known = this.#young.get(key);
    if (known === undefined) {
      known = this.#old.get(key);
      if (known?.authorization === authorization) this.#keep(key, known);
    }
    return known?.authorization === authorization ? known : undefined;
  }

  /** Whether a token that the cache lacks has come before. Another one may have taken its slot since. */
  isSeenAgain(authorization: string): boolean {
    const key = hashOf(authorization);
    const slot = key & (SEEN_SLOTS - 1);
    if (this.#seen[slot] === key) return true;
    this.#seen[slot] = key;
    return false;
  }

  add(token: CachedToken): void {
    this.#keep(hashOf(token.authorization), token);
  }

  #keep(key: number, token: CachedToken): void {
    if (this.#young.size >= TOKENS_MAX || this.#youngBytes >= BYTES_MAX) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    const replaced = this.#young.get(key);
    if (replaced) this.#youngBytes -= bytesOf(replaced);
    this.#young.set(key, token);
    this.#youngBytes += bytesOf(token);
  }
}

function bytesOf({ authorization }: CachedToken): number {
  return authorization.length + OVERHEAD_BYTES;
}

function hashOf(authorization: string): number {
  const { length } = authorization;
  let hash = 0;
  for (let i = Math.max(0, length - HASHED_CHARACTERS); i < length; i++) {
    hash = Math.imul(hash, 0x01000193) ^ authorization.charCodeAt(i);
  }
  return hash;
}
