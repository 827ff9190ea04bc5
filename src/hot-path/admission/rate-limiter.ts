/**
 * A token bucket per key, in a table of fixed size. A bucket is one number: the time at which it is full again. A full
 * bucket carries no information, so it can be evicted. A new key evicts the bucket of its set that is full first.
 * A flood of invented keys therefore evicts idle keys first, and keys at their limit last.
 */
import type { HashedName } from './hashed-name.ts';

/** The capacity of a bucket. */
const BURST_SECONDS = 10;

/** 131,072 keys, 2 MiB. A key belongs to one set, so a lookup compares four adjacent slots. */
const SETS = 2 ** 15;
const SLOTS_PER_SET = 4;
/** A slot holds the hash of its key, and the time at which its bucket is full. */
const FIELDS = 2;

export class RateLimiter {
  readonly #spacingMs: number;
  readonly #slots = new Float64Array(SETS * SLOTS_PER_SET * FIELDS);

  constructor(perSecond: number) {
    this.#spacingMs = 1_000 / perSecond;
  }

  /** Counts a request. False: it is over the limit, and is not counted. `nowMs` is of a monotonic clock. */
  take(key: HashedName, nowMs: number): boolean {
    const bucket = this.#slotOf(key, nowMs) + 1;
    const fullAtMs = Math.max(this.#slots[bucket]!, nowMs) + this.#spacingMs;
    if (fullAtMs > nowMs + BURST_SECONDS * 1_000) return false;
    this.#slots[bucket] = fullAtMs;
    return true;
  }

  #slotOf({ first, second }: HashedName, nowMs: number): number {
    const begin = (first & (SETS - 1)) * SLOTS_PER_SET * FIELDS;
    const end = begin + SLOTS_PER_SET * FIELDS;
    let fullest = begin;
    for (let slot = begin; slot < end; slot += FIELDS) {
      if (this.#slots[slot] === second) return slot;
      if (this.#slots[slot + 1]! < this.#slots[fullest + 1]!) fullest = slot;
    }
    this.#slots[fullest] = second;
    this.#slots[fullest + 1] = nowMs;
    return fullest;
  }
}
