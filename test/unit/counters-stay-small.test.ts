/** The counters of a process: their text has a bound, and latencies can be added up over processes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  addBuckets,
  bucketOf,
  encodeBuckets,
  percentilesOf,
} from '../../src/counters/latency-buckets.ts';
import {
  decodeCounters,
  encodeCounters,
  type ProcessCounters,
} from '../../src/counters/process-counters.ts';
import { CountsBySale } from '../../src/hot-path/metrics/sale-counts.ts';

const PROCESS = {
  process: 'hot-path',
  id: 'abcdefghij',
  pid: 4_194_303,
  host: 'ä'.repeat(100),
  startedAt: 1_764_000_000_000,
  version: '0.1.0',
  ready: true,
  cpu: 0.5,
  loopUtilization: 0.5,
  connections: 10_000,
  liveSubscribers: 5_000,
} satisfies Omit<ProcessCounters, 'sales' | 'moreSales'>;

const OUTCOMES = ['reserved', 'replayed', 'sold_out', 'limit_reached', 'insufficient_stock'];

/** A process in which `count` sales had many purchases with all outcomes, the last one most recently. */
function busyCounts(count: number): CountsBySale {
  const counts = new CountsBySale();
  for (let sale = 0; sale < count; sale++) {
    const saleId = `${'s'.repeat(36)}${String(sale).padStart(4, '0')}`;
    for (let i = 0; i < 1_000; i++)
      counts.of(saleId, sale).count(OUTCOMES[i % OUTCOMES.length]!, 0.1 + i / 10, i % 2 === 0);
    counts.sample(sale + 1);
  }
  return counts;
}

test('a report of a thousand sales has at most 4 KiB, with the most recent sales', () => {
  for (const sales of [0, 1, 7, 30, 1_000]) {
    const report = busyCounts(sales).read(() => true, 40);
    const text = encodeCounters({ ...PROCESS, ...report });
    assert.ok(Buffer.byteLength(text) <= 4_096, `${Buffer.byteLength(text)} bytes`);
    const decoded = decodeCounters(text);
    assert.ok(decoded);
    assert.equal(decoded.sales.length + decoded.moreSales, sales);
    if (sales > 0) assert.equal(Number(decoded.sales[0]!.saleId.slice(-4)), sales - 1);
    if (sales >= 7) assert.ok(decoded.sales.length >= 7 && decoded.sales[0]!.latency);
  }
});

test('counts of the last second and of all time are told apart', () => {
  const counts = new CountsBySale();
  const sale = counts.of('phones', 0);
  const read = () => counts.read(() => true, 1).sales[0]!;
  for (let i = 0; i < 10; i++) sale.count('reserved', 1, false);
  counts.sample(500);
  assert.deepEqual(read().outcomes, { reserved: [10, 10] });
  assert.equal(read().windowMs, 500);
  sale.count('sold_out', 100, true);
  counts.sample(1_000);
  counts.sample(1_500);
  assert.deepEqual(read().outcomes, { reserved: [10, 0], sold_out: [1, 1] });
  assert.deepEqual([read().windowMs, read().withoutRedis], [1_000, [1, 1]]);
  assert.equal(read().latency?.recentMaxMs, 100);
  // Long idle, then one more: it must not count as spread over the idle time.
  for (let tick = 4; tick < 40; tick++) counts.sample(tick * 500);
  assert.equal(read().latency?.recent, '');
  sale.count('reserved', 3, false);
  counts.sample(20_000);
  assert.deepEqual(read().outcomes, { reserved: [11, 1], sold_out: [1, 0] });
  assert.equal(read().windowMs, 500);
});

test('a text of another format is ignored', () => {
  for (const text of ['', '{', '[]', 'null', '{"format":2}', '{"format":1}'])
    assert.equal(decodeCounters(text), undefined, text);
});

test('percentiles of added buckets are at most 19 % above the exact ones', () => {
  const latencies = fc.array(fc.double({ min: 0.06, max: 20_000, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(latencies, latencies, (one, other) => {
      const sum: number[] = [];
      for (const part of [one, other]) {
        const counts = new Float64Array(80);
        for (const ms of part) counts[bucketOf(ms)]! += 1;
        addBuckets(sum, encodeBuckets(counts));
      }
      const all = [...one, ...other].toSorted((a, b) => a - b);
      const found = percentilesOf(sum, all.at(-1))!;
      for (const [share, value] of [
        [0.5, found.p50],
        [0.9, found.p90],
        [0.99, found.p99],
      ] as const) {
        const exact = all[Math.ceil(share * all.length) - 1]!;
        assert.ok(value >= exact * 0.99 && value <= exact * 1.21, `${value} for ${exact}`);
      }
    }),
  );
  assert.equal(percentilesOf([]), null);
});
