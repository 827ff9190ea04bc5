import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { watch } from '../../harness/crowds/live-watcher.ts';
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

test('the first message is the sale as it stands', async () => {
  const sale = await openSale(shards, { phone: 3, tablet: 0 });
  const watcher = await watch(here, sale.saleId);
  await watcher.receives('sale', () => true);
  const { serverTime, ...first } = watcher.messages[0]!.message;
  assert.deepEqual(first, {
    type: 'sale',
    saleId: sale.saleId,
    status: 'open',
    skus: [
      { sku: 'phone', remaining: 3, soldOut: false },
      { sku: 'tablet', remaining: 0, soldOut: true },
    ],
  });
  assert.ok(Math.abs(Date.parse(serverTime) - Date.now()) < 2_000);
  await watcher.close();
});

test('a purchase through another front end, a pause and the end are told, to the last', async () => {
  const sale = await openSale(shards, { phone: 1 });
  const watcher = await watch(here, sale.saleId);
  assert.equal((await there.buy(sale.saleId, 'ada')).status, 201);
  await watcher.receives('sale', ({ skus }) => skus[0].soldOut);
  await sale.change({ status: 'paused' });
  await watcher.receives('sale', ({ status }) => status === 'paused');
  await sale.change({ status: 'ended' });
  await watcher.receives('sale', ({ status }) => status === 'ended');
  await watcher.close();
});

test('while somebody is in line nothing remains for the others', async () => {
  const sale = await openSale(shards, { phone: 1 });
  assert.equal((await there.buy(sale.saleId, 'ada')).status, 201);
  const watcher = await watch(here, sale.saleId);
  const asked = { buyerId: 'grace', sku: 'phone', quantity: 1 };
  assert.equal((await shards.call(joinWaitlist, sale.saleId, asked)).outcome, 'joined');
  // Paused, the line is not served: what is loaded remains, for who waits.
  await sale.change({ status: 'paused' }, [{ sku: 'phone', delta: 5 }]);
  const told = await watcher.receives('sale', ({ status }) => status === 'paused');
  assert.deepEqual(told.skus, [{ sku: 'phone', remaining: 0, soldOut: true }]);
  await watcher.close();
});

test('nobody hears more than four messages a second, and all hear the last state', async () => {
  const sale = await openSale(shards, { phone: 600 });
  const watchers = await Promise.all(Array.from({ length: 40 }, () => watch(here, sale.saleId)));
  const startedAt = performance.now();
  for (let i = 0; i < 600; i++) {
    await there.buy(sale.saleId, `buyer-${i}`);
    await sleep(2);
  }
  assert.ok(performance.now() - startedAt > 1_000, 'too quick to tell');
  for (const watcher of watchers) await watcher.receives('sale', ({ skus }) => skus[0].soldOut);
  await sleep(600);
  for (const { messages: told } of watchers) {
    assert.equal(told.at(-1)!.message.skus[0].remaining, 0);
    assert.ok(told.length > 3, `only ${told.length} messages`);
    // The first one is the answer to coming, whenever that was.
    const times = told.slice(1).map(({ message }) => Date.parse(message.serverTime));
    for (let i = 4; i < times.length; i++) {
      assert.ok(
        times[i]! - times[i - 4]! >= 990,
        `five messages in ${times[i]! - times[i - 4]!} ms`,
      );
    }
    const remaining = told.map(({ message }) => message.skus[0].remaining);
    assert.deepEqual(
      remaining,
      [...new Set(remaining)].sort((a, b) => b - a),
    );
  }
  for (const watcher of watchers) await watcher.close();
});

test('nothing is told while nothing changes, and the sale is still known after the views’ idle time', async () => {
  const sale = await openSale(shards, { phone: 2 });
  const watcher = await watch(here, sale.saleId);
  await sleep(11_000);
  assert.equal(watcher.messages.length, 1);
  await there.buy(sale.saleId, 'ada');
  await watcher.receives('sale', ({ skus }) => skus[0].remaining === 1);
  await watcher.close();
});

test('a sale that its clock ends is told to have ended, in time', async () => {
  const endsAt = Date.now() + 1_500;
  const sale = await openSale(shards, { phone: 2 }, { endsAt });
  const watcher = await watch(here, sale.saleId);
  const { serverTime } = await watcher.receives('sale', ({ status }) => status === 'ended');
  const lateMs = Date.parse(serverTime) - endsAt;
  assert.ok(lateMs >= 0 && lateMs < 600, `${lateMs} ms after the end`);
  assert.deepEqual(
    watcher.of('sale').map(({ status }) => status),
    ['open', 'ended'],
  );
  await watcher.close();
});
