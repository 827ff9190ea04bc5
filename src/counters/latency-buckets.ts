/**
 * Latencies as counts by bucket, so that those of several processes can be added up. A bucket ends 19 % above the one
 * before it, so a percentile is at most 19 % above the exact one. The buckets reach from 50 µs to 44 s.
 */
export const BUCKETS = 80;

const FIRST_MS = 0.05;
const PER_DOUBLING = 4;

/** As text: the index of the first bucket, then the counts up to the last one that is not 0, e.g. `12:5,0,9`. */
export type BucketsText = string;

export interface Percentiles {
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

export function bucketOf(ms: number): number {
  if (!(ms > FIRST_MS)) return 0;
  const bucket = Math.ceil(Math.log2(ms / FIRST_MS) * PER_DOUBLING);
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/** The longest latency that belongs to a bucket. */
function endMs(bucket: number): number {
  return FIRST_MS * 2 ** (bucket / PER_DOUBLING);
}

export function encodeBuckets(counts: ArrayLike<number>): BucketsText {
  const all = Array.from(counts);
  const first = all.findIndex((count) => count > 0);
  if (first === -1) return '';
  const last = all.findLastIndex((count) => count > 0);
  return `${first}:${all.slice(first, last + 1).join(',')}`;
}

/** Adds the counts of a text to others. Ignores what is no count of a bucket. */
export function addBuckets(sum: number[], text: BucketsText): void {
  const [first, counts = ''] = text.split(':');
  for (const [index, count] of counts.split(',').entries()) {
    const bucket = Number(first) + index;
    if (bucket >= 0 && bucket < BUCKETS && Number(count) > 0)
      sum[bucket] = (sum[bucket] ?? 0) + Number(count);
  }
}

/** Null: nothing was counted. Without `maxMs`, the end of the last bucket counts as the longest latency. */
export function percentilesOf(counts: readonly number[], maxMs?: number): Percentiles | null {
  let total = 0;
  for (const count of counts) total += count ?? 0;
  if (total === 0) return null;
  const max = maxMs ?? endMs(counts.findLastIndex((count) => count > 0));
  const at = (share: number) => {
    let below = 0;
    const bucket = counts.findIndex((count) => {
      below += count ?? 0;
      return below >= share * total;
    });
    return rounded(Math.min(endMs(bucket), max));
  };
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: rounded(max) };
}

function rounded(ms: number): number {
  return Number(ms.toPrecision(3));
}
