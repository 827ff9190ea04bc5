/**
 * How often somebody may ask: a token bucket a key, in memory that is taken once and never grows. A bucket is one
 * number, the moment at which it will be full again; a bucket that is full says nothing and may be forgotten. So when
 * its places are all taken, a newcomer takes the one that is full soonest, and a flood of invented keys washes away
 * idle ones first and those who are at their limit last.
 */
import type { HashedName } from './hashed-name.ts';

/** So much unused allowance may be saved up. */
const BURST_SECONDS = 10;

/** 131,072 keys, 2 MiB. A key may stand in the places of one set only, so finding it is a look at four neighbours. */
const SETS = 2 ** 15;
const PLACES_PER_SET = 4;
/** Of a place: whose it is, by a hash, and when that bucket will be full. */
const FIELDS = 2;

export class RateLimiter {
  readonly #spacingMs: number;
  readonly #places = new Float64Array(SETS * PLACES_PER_SET * FIELDS);

  constructor(perSecond: number) {
    this.#spacingMs = 1_000 / perSecond;
  }

  /** Counts one request; false: it is one too many, and was not counted. `nowMs` is of a clock that never goes back. */
  take(key: HashedName, nowMs: number): boolean {
    const bucket = this.#placeOf(key, nowMs) + 1;
    const fullAtMs = Math.max(this.#places[bucket]!, nowMs) + this.#spacingMs;
    if (fullAtMs > nowMs + BURST_SECONDS * 1_000) return false;
    this.#places[bucket] = fullAtMs;
    return true;
  }

  #placeOf({ first, second }: HashedName, nowMs: number): number {
    const begin = (first & (SETS - 1)) * PLACES_PER_SET * FIELDS;
    const end = begin + PLACES_PER_SET * FIELDS;
    let emptiest = begin;
    for (let place = begin; place < end; place += FIELDS) {
      if (this.#places[place] === second) return place;
      if (this.#places[place + 1]! < this.#places[emptiest + 1]!) emptiest = place;
    }
    this.#places[emptiest] = second;
    this.#places[emptiest + 1] = nowMs;
    return emptiest;
  }
}
