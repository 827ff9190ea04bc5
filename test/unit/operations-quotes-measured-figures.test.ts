/** docs/OPERATIONS.md quotes rounded figures for sizing. None of them is far from what was recorded last. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readResults } from '../../bench/report/results.ts';
import { costsOf } from '../../bench/sizing/sizing.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
/** Other figures of another run are no reason to change a plan; twice as much is. */
const FACTOR_MAX = 2;

const recorded = (name: string) =>
  JSON.parse(readFileSync(join(REPOSITORY, 'bench/results', `${name}.json`), 'utf8'));

test('the figures for sizing are those of the recorded results', () => {
  const found = costsOf({
    throughput: readResults('throughput.json'),
    growth: readResults('growth.json'),
  });
  assert.ok('costs' in found);
  const { costs } = found;
  const { costs: profiles, recoveries } = recorded('durability');
  const [fast, safe, replicated] = profiles;
  const [empty, large] = recoveries;
  const notified = recorded('live').pairs.map(
    (pair: { watched: { allNotifiedMs: number } }) => pair.watched.allNotifiedMs,
  );
  const [cluster, sentinels] = recorded('failover').results;
  const closedMs = ({ median }: typeof cluster.killed) =>
    median.untilOpen + median.untilReservation;
  const { rows, migrationSeconds, purchaseMs } = recorded('upgrade');
  const quoted: [text: string, quoted: number, measured: number][] = [
    ['about 11 µs a refusal', 11, costs.refusalMicros],
    ['about 10 µs more for a new token', 10, costs.signatureMicros],
    ['requests per second × 22 µs', 22, costs.refusalMicros + costs.signatureMicros],
    ['about 8 µs of CPU a win', 8, costs.redisWinMicros],
    ['about 87,000 wins a second', 87_000, 0.7e6 / costs.redisWinMicros],
    ['about 89,000 rows a second', 89_000, costs.rowsPerSecond],
    [
      'about 3 KiB a waiting buyer',
      3 * 1_024,
      recorded('overload').standstill.bytesPerWaitingBuyer,
    ],
    ['about 0.7 s', 700, notified.toSorted((a: number, b: number) => a - b).at(-1)],
    ['| 11,000 | 20 ms |', 11_000, fast.perSecond],
    ['| 9,800 | 20 ms |', 9_800, safe.perSecond],
    ['| 7,100 | 24 ms |', 7_100, replicated.perSecond],
    ['0.07 s until it sells', 70, empty.closedMs.p50],
    ['0.9 s, at most 1.3 s', 900, large.flushed.closedMs.p50],
    ['at most 1.3 s', 1_300, large.flushed.closedMs.p95],
    ['| 0.04 s | 0.3 s |', 40, cluster.handedOver.median.untilMaster],
    ['| 0.04 s | 0.3 s |', 300, closedMs(cluster.handedOver)],
    ['| 2.3 s | 7.4 s |', 7_400, closedMs(cluster.killed)],
    ['| 2.3 s | 7.4 s |', 2_300, cluster.killed.median.untilMaster],
    ['| 2.2 s | 7.3 s |', 2_200, sentinels.killed.median.untilMaster],
    ['| 1.1 s | 7.3 s |', 7_300, closedMs(sentinels.handedOver)],
    ['a million reservations', 1_000_000, rows],
    ['it took 8 s', 8, migrationSeconds],
    ['from 9 to 25 ms', 25, purchaseMs.during.p99],
  ];
  const text = readFileSync(join(REPOSITORY, 'docs/OPERATIONS.md'), 'utf8');
  assert.deepEqual(
    quoted.filter(([words]) => !text.includes(words)).map(([words]) => words),
    [],
    'no longer in the document',
  );
  const isFar = (one: number, other: number) =>
    Math.max(one / other, other / one) > FACTOR_MAX || !Number.isFinite(other);
  assert.deepEqual(
    quoted.filter(([, value, measured]) => isFar(value, measured)),
    [],
    'measured otherwise since',
  );
});
