/** The clock of a Redis server may jump; the time of a sale only goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { hold } from '../../harness/sales/purchases.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { useShiftedClock } from '../../harness/servers/shifted-clock.ts';
import { FILE } from '../../harness/use.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const HOUR_MS = 3_600_000;
const TAG = 'batchtag';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const clock = await useShiftedClock(FILE, shards);

type Sale = Awaited<ReturnType<typeof openSale>>;

async function heldAfterSweep(sale: Sale): Promise<number> {
  await shards.call(sweep, sale.saleId, { most: 50, tag: TAG });
  return (await sale.state()).stock[0]!.held;
}

async function outcomeOf(sale: Sale, buyerId: string): Promise<string> {
  const request = { buyerId, idempotencyKey: '', items: 'unit*1', requestId: '', traceparent: '' };
  const batch = { tag: TAG, backlogMax: 1_000_000, requests: [request] };
  return (await shards.call(reserve, sale.saleId, batch))[0]!.outcome;
}

test('a hold made while the clock was an hour ahead ends after its own time', async () => {
  await clock.set(0);
  const sale = await openSale(shards, { unit: 9 }, { holdSeconds: 3 });
  await hold(shards, sale.saleId, ['before']);
  await clock.set(HOUR_MS);
  const [ahead] = await hold(shards, sale.saleId, ['ahead']);
  await clock.set(0);
  const [after] = await hold(shards, sale.saleId, ['after']);
  assert.ok(after!.reservedAt >= ahead!.reservedAt);
  assert.equal(after!.expiresAt - after!.reservedAt, 3_000);
  assert.equal(await heldAfterSweep(sale), 2);
  assert.ok(Math.abs((await sale.state()).aheadMs - HOUR_MS) < 10_000);
  await sleep(3_050);
  assert.equal(await heldAfterSweep(sale), 0);
});

test('an end that was reported is not withdrawn when the clock is set back', async () => {
  await clock.set(0);
  const sale = await openSale(shards, { unit: 9 }, { endsAt: Date.now() + HOUR_MS / 2 });
  assert.equal(await outcomeOf(sale, 'ada'), 'reserved');
  await clock.set(HOUR_MS);
  assert.equal(await outcomeOf(sale, 'bob'), 'sale_ended');
  await clock.set(0);
  assert.equal(await outcomeOf(sale, 'bob'), 'sale_ended');
  assert.ok((await sale.state()).nowMs > Date.now() + HOUR_MS / 2);
});

test('a start that was reached is not withdrawn when an operator changed the sale meanwhile', async () => {
  await clock.set(HOUR_MS);
  const sale = await openSale(shards, { unit: 9 }, { startsAt: Date.now() + HOUR_MS / 2 });
  await clock.set(0);
  assert.equal(await outcomeOf(sale, 'ada'), 'reserved');
});

test('after a short step back the time stands still, and the sale stays on the clock', async () => {
  await clock.set(800);
  const sale = await openSale(shards, { unit: 9 });
  const [before] = await hold(shards, sale.saleId, ['before']);
  await clock.set(0);
  const [after] = await hold(shards, sale.saleId, ['after']);
  // The sale's time stands still until the clock has caught up.
  assert.ok(after!.reservedAt >= before!.reservedAt);
  assert.ok(after!.reservedAt <= Math.max(before!.reservedAt, Date.now()));
  assert.equal((await sale.state()).aheadMs, 0);
});

test('a clock that was set back and is corrected does not move the sale ahead', async () => {
  await clock.set(0);
  const sale = await openSale(shards, { unit: 9 });
  await hold(shards, sale.saleId, ['before']);
  await clock.set(-HOUR_MS);
  const [slow] = await hold(shards, sale.saleId, ['slow']);
  assert.ok(Math.abs(slow!.reservedAt - Date.now()) < 10_000);
  await clock.set(0);
  const [after] = await hold(shards, sale.saleId, ['after']);
  assert.ok(after!.reservedAt >= slow!.reservedAt);
  assert.ok(Math.abs(after!.reservedAt - Date.now()) < 10_000);
  assert.equal((await sale.state()).aheadMs, 0);
});

test('steps add up while a sale is ahead', async () => {
  await clock.set(HOUR_MS);
  const sale = await openSale(shards, { unit: 9 });
  await hold(shards, sale.saleId, ['ahead']);
  await clock.set(0);
  await hold(shards, sale.saleId, ['an-hour-ahead']);
  await clock.set(-HOUR_MS);
  await hold(shards, sale.saleId, ['set-back']);
  await clock.set(0);
  await hold(shards, sale.saleId, ['corrected']);
  assert.ok(Math.abs((await sale.state()).aheadMs - 2 * HOUR_MS) < 10_000);
});

test('whatever the clock does, times never decrease and holds keep their length', async () => {
  const steps = fc.array(
    fc.record({
      offsetMs: fc.oneof(
        fc.integer({ min: -5_000, max: 5_000 }),
        fc.constantFrom(-HOUR_MS, HOUR_MS),
      ),
      does: fc.constantFrom('buy', 'buy', 'read', 'sweep'),
    }),
    { minLength: 1, maxLength: 15 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      await clock.set(0);
      const sale = await openSale(shards, { unit: 99 }, { holdSeconds: 20_000 });
      let newest = 0;
      for (const [index, { offsetMs, does }] of all.entries()) {
        await clock.set(offsetMs);
        if (does === 'buy') {
          const [bought] = await hold(shards, sale.saleId, [`buyer-${index}`]);
          assert.ok(bought!.reservedAt >= newest, `${bought!.reservedAt} after ${newest}`);
          assert.equal(bought!.expiresAt - bought!.reservedAt, 20_000_000);
          newest = bought!.reservedAt;
        } else if (does === 'sweep') {
          assert.equal(
            await heldAfterSweep(sale),
            all.slice(0, index).filter((each) => each.does === 'buy').length,
          );
        } else {
          const { nowMs, aheadMs } = await sale.state();
          assert.ok(nowMs >= newest && aheadMs >= 0);
        }
      }
    }),
    { numRuns: 30 },
  );
});
