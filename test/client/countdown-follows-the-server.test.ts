/** The client's clock is the engine's, whatever the clock of the buyer's device says, and counts down on the second. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { countdown, FlashSale, ServerClock } from '../../clients/typescript/src/index.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

test('after a read, the time is that of Redis, within the given error', async () => {
  const sale = await openSale(shards, { phone: 1 });
  // The time in a response is earlier than its sending, by the delay of a reply of Redis: longer on a busy machine.
  await eventually(async () => {
    const engine = new FlashSale({ url: hotPath.url });
    assert.equal(engine.clock.errorMs, undefined);
    await engine.getSale(sale.saleId);
    await engine.getSale(sale.saleId);
    const before = engine.clock.now();
    const { nowMs } = await sale.state();
    const after = engine.clock.now();
    // Redis and this process share a clock; the view of the hot path is extrapolated.
    const error = engine.clock.errorMs! + 5;
    assert.ok(before - error <= nowMs && nowMs <= after + error, `${before} ${nowMs} ${after}`);
  });
});

test('whatever the delays are, the true time is within the error', () => {
  const trip = fc.record({
    gapMs: fc.integer({ min: 0, max: 60_000 }),
    thereMs: fc.integer({ min: 0, max: 2_000 }),
    backMs: fc.integer({ min: 0, max: 2_000 }),
  });
  const offset = fc.integer({ min: -86_400_000, max: 86_400_000 });
  fc.assert(
    fc.property(offset, fc.array(trip, { minLength: 1, maxLength: 20 }), (offsetMs, trips) => {
      const clock = new ServerClock();
      const startMs = performance.now();
      const epochMs = 1_800_000_000_000;
      let atMs = startMs;
      for (const { gapMs, thereMs, backMs } of trips) {
        atMs += gapMs;
        const serverMs = epochMs + offsetMs + Math.round(atMs - startMs) + thereMs;
        clock.sample(new Date(serverMs).toISOString(), atMs, atMs + thereMs + backMs);
        atMs += thereMs + backMs;
      }
      const trueMs = epochMs + offsetMs + performance.now() - startMs;
      // Rounded to milliseconds, plus the drift that the clock itself adds.
      assert.ok(Math.abs(clock.now() - trueMs) <= clock.errorMs! + 250);
    }),
  );
});

test('a clock that stood still while the device slept is noticed with the next sample', () => {
  const clock = new ServerClock();
  const sentAt = performance.now();
  clock.sample('2030-01-01T00:00:00.000Z', sentAt, sentAt + 2);
  // The next response is slower, but contradicts the first.
  clock.sample('2030-01-01T01:00:00.000Z', sentAt, sentAt + 500);
  assert.ok(Math.abs(clock.now() - Date.parse('2030-01-01T01:00:00.000Z')) < 2_000);
});

test('a countdown ends at the time of the server, and ticks once for each second', async () => {
  const clock = new ServerClock();
  const sentAt = performance.now();
  // The server's clock is a year ahead of this device.
  const serverMs = Date.now() + 365 * 86_400_000;
  clock.sample(new Date(serverMs).toISOString(), sentAt, sentAt);
  const shown: number[] = [];
  await countdown(clock, new Date(serverMs + 1_300), (leftMs) => {
    shown.push(Math.ceil(leftMs / 1_000));
  });
  const tookMs = performance.now() - sentAt;
  assert.ok(tookMs >= 1_299, `${tookMs} ms`);
  // A busy machine may skip a second; the numbers never rise.
  assert.equal(shown.at(0), 2);
  assert.equal(shown.at(-1), 0);
  assert.deepEqual(
    shown,
    shown.toSorted((a, b) => b - a),
  );
});

test('an abort ends a countdown, and a mistyped time is an error', async () => {
  const clock = new ServerClock();
  const stopping = new AbortController();
  const later = new Date(Date.now() + 60_000);
  const counting = countdown(clock, later, () => stopping.abort(new Error('left the page')), {
    signal: stopping.signal,
  });
  await assert.rejects(counting, /left the page/);
  await assert.rejects(
    countdown(clock, 'soon', () => undefined),
    TypeError,
  );
});
