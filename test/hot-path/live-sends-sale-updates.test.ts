import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const here = await useHotPath(FILE, redis.url);
const there = await useHotPath(FILE, redis.url);

/** All watchers are connected by then, also on a busy machine. */
const SOON_MS = 4_000;
const LATE_MS_MAX = 2_500;

test('the first message is the current state of the sale', async (t) => {
  const sale = await openSale(shards, { phone: 3, tablet: 0 });
  const watcher = await useWatcher(t, here, sale.saleId);
  await watcher.receives('sale', () => true);
  const { serverTime, ...first } = watcher.messages[0]!.message;
  assert.deepEqual(first, {
    type: 'sale',
    saleId: sale.saleId,
    status: 'open',
    startsAt: null,
    endsAt: null,
    skus: [
      { sku: 'phone', remaining: 3, soldOut: false },
      { sku: 'tablet', remaining: 0, soldOut: true },
    ],
  });
  assert.ok(Math.abs(Date.parse(serverTime) - Date.now()) < 2_000);
});

test('a purchase through another hot path, a pause and the end each send a message', async (t) => {
  const sale = await openSale(shards, { phone: 1 });
  const watcher = await useWatcher(t, here, sale.saleId);
  assert.equal((await there.buy(sale.saleId, 'ada')).status, 201);
  await watcher.receives('sale', ({ skus }) => skus[0].soldOut);
  await sale.change({ status: 'paused' });
  await watcher.receives('sale', ({ status }) => status === 'paused');
  await sale.change({ status: 'ended' });
  await watcher.receives('sale', ({ status }) => status === 'ended');
});

test('while buyers are on the waitlist, nothing remains for others', async (t) => {
  const sale = await openSale(shards, { phone: 1 });
  assert.equal((await there.buy(sale.saleId, 'ada')).status, 201);
  const watcher = await useWatcher(t, here, sale.saleId);
  const entry = { buyerId: 'grace', sku: 'phone', quantity: 1 };
  assert.equal((await shards.call(joinWaitlist, sale.saleId, entry)).outcome, 'joined');
  // A paused sale does not serve the waitlist: the loaded units remain, for the buyers on it.
  await sale.change({ status: 'paused' }, [{ sku: 'phone', delta: 5 }]);
  const update = await watcher.receives('sale', ({ status }) => status === 'paused');
  assert.deepEqual(update.skus, [{ sku: 'phone', remaining: 0, soldOut: true }]);
});

test('every client receives at most four messages a second, and the last state', async (t) => {
  const sale = await openSale(shards, { phone: 600 });
  const watchers = await Promise.all(
    Array.from({ length: 40 }, () => useWatcher(t, here, sale.saleId)),
  );
  const startedAt = performance.now();
  for (let i = 0; i < 600; i++) {
    await there.buy(sale.saleId, `buyer-${i}`);
    await sleep(2);
  }
  assert.ok(performance.now() - startedAt > 1_000, 'too fast to measure');
  for (const watcher of watchers) await watcher.receives('sale', ({ skus }) => skus[0].soldOut);
  // Two rounds of messages: one that repeated a state, or went back, would be among them.
  await sleep(600);
  for (const { messages } of watchers) {
    assert.equal(messages.at(-1)!.message.skus[0].remaining, 0);
    assert.ok(messages.length > 3, `only ${messages.length} messages`);
    // The first message is sent on connecting, at any time.
    const times = messages.slice(1).map(({ message }) => Date.parse(message.serverTime));
    // Not the fourth, which nominally comes after a second: the time in a message is earlier than its sending, by the delay
    // of a reply of Redis.
    for (let i = 5; i < times.length; i++)
      assert.ok(times[i]! - times[i - 5]! >= 990, `message ${i} after ${times.join()}`);
    const remaining = messages.map(({ message }) => message.skus[0].remaining);
    assert.deepEqual(
      remaining,
      [...new Set(remaining)].sort((a, b) => b - a),
    );
  }
});

test('no message is sent while nothing changes, and the view outlives its idle time', async (t) => {
  const sale = await openSale(shards, { phone: 2 });
  const watcher = await useWatcher(t, here, sale.saleId);
  // A view without readers is dropped after ten seconds.
  await sleep(11_000);
  assert.equal(watcher.messages.length, 1);
  await there.buy(sale.saleId, 'ada');
  await watcher.receives('sale', ({ skus }) => skus[0].remaining === 1);
});

test('a sale that ends by its clock sends the end in time', async (t) => {
  const endsAt = Date.now() + SOON_MS;
  const sale = await openSale(shards, { phone: 2 }, { endsAt });
  const watcher = await useWatcher(t, here, sale.saleId);
  const { serverTime } = await watcher.receives('sale', ({ status }) => status === 'ended');
  const lateMs = Date.parse(serverTime) - endsAt;
  assert.ok(lateMs >= 0 && lateMs < LATE_MS_MAX, `${lateMs} ms after the end`);
  assert.deepEqual(
    watcher.of('sale').map(({ status }) => status),
    ['open', 'ended'],
  );
});

test('a sale that starts by its clock sends the start in time, once, and never early', async (t) => {
  const startsAt = Date.now() + SOON_MS;
  const sale = await openSale(shards, { phone: 2 }, { startsAt });
  // Many enough for several groups, which take turns.
  const watchers = await Promise.all(
    Array.from({ length: 20 }, () => useWatcher(t, here, sale.saleId)),
  );
  for (const watcher of watchers) {
    await watcher.receives('sale', ({ serverTime }) => Date.parse(serverTime) >= startsAt);
    const messages = watcher.of('sale');
    assert.equal(messages.length, 2);
    assert.deepEqual(
      messages.map((message) => message.startsAt),
      Array(2).fill(new Date(startsAt).toISOString()),
    );
    const lateMs = Date.parse(messages[1].serverTime) - startsAt;
    assert.ok(lateMs >= 0 && lateMs < LATE_MS_MAX, `${lateMs} ms after the start`);
  }
  assert.equal((await there.buy(sale.saleId, 'ada')).status, 201);
});
