/**
 * Purchases of this process by sale: how many had which outcome, and how long they took. An observation is an addition to
 * plain numbers. Twice a second a sample of the sums is kept, so that the last seconds can be told from what was before.
 */
import { BUCKETS, bucketOf, encodeBuckets } from '../../counters/latency-buckets.ts';
import type { SaleCounters, SaleReport } from '../../counters/process-counters.ts';

/** Longer than any process needs for the sales that it serves; the sale without purchases for longest is dropped. */
const SALES_MAX = 1_000;
/** More than there are outcomes; the last one is for those beyond. */
const OUTCOMES_MAX = 64;
/** Samples that the counts of the last second, and the latencies of the last seconds, go back. */
const WINDOW_SAMPLES = 2;
const SAMPLES = 10;

/** The sums of a sale: purchases by outcome, those decided without Redis, purchases by latency. */
const LOCAL = OUTCOMES_MAX;
const LATENCIES = OUTCOMES_MAX + 1;
const SUMS = LATENCIES + BUCKETS;

/** The outcomes so far, of any sale. Their names are constants of the code, so there are only a few. */
const INDEXES = new Map<string, number>();

function indexOf(outcome: string): number {
  const known = INDEXES.get(outcome);
  if (known !== undefined) return known;
  const index = Math.min(INDEXES.size, OUTCOMES_MAX - 1);
  INDEXES.set(index === OUTCOMES_MAX - 1 ? 'others' : outcome, index);
  return index;
}

interface Sample {
  atMs: number;
  total: number;
  sums: Float64Array;
  /** The longest latency between the sample before and this one. */
  maxMs: number;
}

/** The purchases of one sale. */
export class SaleCounts {
  readonly saleId: string;
  readonly #since = Date.now();
  readonly #sums = new Float64Array(SUMS);
  #total = 0;
  #maxMs = 0;
  /** The oldest first; only one while there are no purchases. */
  readonly #samples: [Sample, ...Sample[]];
  #usedAtMs: number;

  constructor(saleId: string, nowMs: number) {
    this.saleId = saleId;
    this.#samples = [{ atMs: nowMs, total: 0, sums: this.#sums.slice(), maxMs: 0 }];
    this.#usedAtMs = nowMs;
  }

  /** The time of the last sample with purchases. */
  get usedAtMs(): number {
    return this.#usedAtMs;
  }

  /** `isLocal`: decided without a call to Redis. */
  count(outcome: string, latencyMs: number, isLocal: boolean): void {
    const sums = this.#sums;
    this.#total++;
    sums[INDEXES.get(outcome) ?? indexOf(outcome)]!++;
    if (isLocal) sums[LOCAL]!++;
    sums[LATENCIES + bucketOf(latencyMs)]!++;
    if (latencyMs > this.#maxMs) this.#maxMs = latencyMs;
  }

  sample(nowMs: number): void {
    const samples = this.#samples;
    if (this.#total === samples[0].total) {
      samples.length = 1;
      samples[0].atMs = nowMs;
      samples[0].maxMs = 0;
      return;
    }
    if (this.#total !== samples.at(-1)!.total) this.#usedAtMs = nowMs;
    const isFull = samples.length > SAMPLES;
    const sample = isFull ? samples.shift()! : { ...samples[0], sums: new Float64Array(SUMS) };
    sample.atMs = nowMs;
    sample.total = this.#total;
    sample.sums.set(this.#sums);
    sample.maxMs = this.#maxMs;
    this.#maxMs = 0;
    samples.push(sample);
  }

  /** As of the last sample. */
  read(): SaleCounters {
    const last = this.#samples.at(-1)!;
    const before = this.#samples.at(-1 - WINDOW_SAMPLES) ?? this.#samples[0];
    const pair = (index: number): [number, number] => [
      last.sums[index]!,
      last.sums[index]! - before.sums[index]!,
    ];
    const outcomes = [...INDEXES]
      .filter(([, index]) => last.sums[index]! > 0)
      .map(([outcome, index]) => [outcome, pair(index)] as const);
    return {
      saleId: this.saleId,
      since: this.#since,
      windowMs: Math.max(1, Math.round(last.atMs - before.atMs)),
      outcomes: Object.fromEntries(outcomes),
      withoutRedis: pair(LOCAL),
      latency: this.#latency(last),
    };
  }

  #latency(last: Sample): SaleCounters['latency'] {
    const all = last.sums.subarray(LATENCIES);
    const oldest = this.#samples[0].sums.subarray(LATENCIES);
    const longest = this.#samples.slice(1).map(({ maxMs }) => maxMs);
    return {
      recent: encodeBuckets(all.map((count, index) => count - oldest[index]!)),
      recentMaxMs: Number(Math.max(0, ...longest).toFixed(2)),
      all: encodeBuckets(all),
    };
  }
}

/** The purchases of all sales. */
export class CountsBySale {
  readonly #bySale = new Map<string, SaleCounts>();

  /** Only for a sale that exists: invented ids must not take the place of real ones. */
  of(saleId: string, nowMs: number): SaleCounts {
    return this.#bySale.get(saleId) ?? this.#add(saleId, nowMs);
  }

  /** Undefined: nothing was counted yet. */
  peek(saleId: string): SaleCounts | undefined {
    return this.#bySale.get(saleId);
  }

  sample(nowMs: number): void {
    for (const counts of this.#bySale.values()) counts.sample(nowMs);
  }

  /** The `most` that had purchases last, and how many others there are. */
  read(isWanted: (saleId: string) => boolean, most: number): SaleReport {
    const wanted = [...this.#bySale.values()]
      .filter(({ saleId }) => isWanted(saleId))
      .toSorted((a, b) => b.usedAtMs - a.usedAtMs);
    const sales = wanted.slice(0, most).map((counts) => counts.read());
    return { sales, moreSales: wanted.length - sales.length };
  }

  #add(saleId: string, nowMs: number): SaleCounts {
    if (this.#bySale.size >= SALES_MAX) {
      const oldest = [...this.#bySale.values()].reduce((one, other) =>
        other.usedAtMs < one.usedAtMs ? other : one,
      );
      this.#bySale.delete(oldest.saleId);
    }
    const counts = new SaleCounts(saleId, nowMs);
    this.#bySale.set(saleId, counts);
    return counts;
  }
}
