/**
 * How often somebody may ask: a token bucket a key, in memory that is taken once and never grows. A bucket is one
 * number, the moment at which it will be full again; a bucket that is full says nothing and may be forgotten. So when
 * its places are all taken, a newcomer takes the one that is full soonest, and a flood of invented keys washes away
 * idle ones first and those who are at their limit last.
 */
import { randomInt } from 'node:crypto';

/** So much unused allowance may be saved up. */
const BURST_SECONDS = 10;

/** 131,072 keys, 1.5 MiB. A key may stand in the places of one set only, so finding it is a look at four. */
const SETS = 2 ** 15;
const PLACES_PER_SET = 4;

export class RequestRate {
  readonly #spacingMs: number;
  readonly #tags = new Uint32Array(SETS * PLACES_PER_SET);
  readonly #fullAtMs = new Float64Array(SETS * PLACES_PER_SET);
  /** Drawn for each process, so that nobody can choose a key that shares a place with somebody else's. */
  readonly #seeds = [randomInt(2 ** 32), randomInt(2 ** 32)] as const;

  constructor(perSecond: number) {
    this.#spacingMs = 1_000 / perSecond;
  }

  /** Counts one request; false: it is one too many, and was not counted. `nowMs` is of a clock that never goes back. */
  take(key: string, nowMs: number): boolean {
    const place = this.#placeOf(key, nowMs);
    const fullAtMs = Math.max(this.#fullAtMs[place]!, nowMs) + this.#spacingMs;
    if (fullAtMs > nowMs + BURST_SECONDS * 1_000) return false;
    this.#fullAtMs[place] = fullAtMs;
    return true;
  }

  #placeOf(key: string, nowMs: number): number {
    // Two 32-bit hashes in one pass (FNV-1a, and its like with another prime): one chooses the set, one is the tag.
    let [set, tag] = this.#seeds;
    for (let i = 0; i < key.length; i++) {
      const code = key.charCodeAt(i);
      set = Math.imul(set ^ code, 0x01000193);
      tag = Math.imul(tag ^ code, 0x5bd1e995);
      tag ^= tag >>> 15;
    }
    tag >>>= 0;
    const first = ((set ^ (set >>> 16)) & (SETS - 1)) * PLACES_PER_SET;
    let emptiest = first;
    for (let place = first; place < first + PLACES_PER_SET; place++) {
      if (this.#tags[place] === tag) return place;
      if (this.#fullAtMs[place]! < this.#fullAtMs[emptiest]!) emptiest = place;
    }
    this.#tags[emptiest] = tag;
    this.#fullAtMs[emptiest] = nowMs;
    return emptiest;
  }
}
