import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const here = await useHotPath(FILE, redis.url);
const there = await useHotPath(FILE, redis.url);

test('joining, moving up and being served each send a message, through every hot path', async (t) => {
  const { sale, reservationId } = await soldOutSale();
  await join(sale, 'ahead');
  const grace = await useWatcher(t, here, sale.saleId, { buyer: 'grace' });
  await join(sale, 'grace');
  const entry = { type: 'waitlist', saleId: sale.saleId, sku: 'phone', quantity: 1 };
  await grace.receives('waitlist', ({ place }) => place === 2);
  await leave(sale, 'ahead');
  await grace.receives('waitlist', ({ place }) => place === 1);
  const cancelled = await there.call(`/v1/reservations/${reservationId}/cancel`, {
    method: 'POST',
    buyer: 'winner',
  });
  assert.equal(cancelled.status, 200);
  await grace.receives('waitlist', ({ state }) => state === 'served');
  // Ranks are sent once a second: a later message about the served entry would come within this time.
  await sleep(1_500);
  assert.deepEqual(grace.of('waitlist'), [
    { ...entry, place: 2, state: 'waiting' },
    { ...entry, place: 1, state: 'waiting' },
    { ...entry, place: 0, state: 'served' },
  ]);
  const { buyerId, source } = grace.of('reservation')[0].reservation;
  assert.deepEqual([buyerId, source], ['grace', 'waitlist']);
});

test('a buyer who connects receives the current rank, and a message on leaving', async (t) => {
  const { sale } = await soldOutSale();
  await join(sale, 'ahead');
  await join(sale, 'grace');
  const grace = await useWatcher(t, here, sale.saleId, { buyer: 'grace' });
  const first = await grace.receives('waitlist', () => true);
  assert.deepEqual([first.place, first.state], [2, 'waiting']);
  await leave(sale, 'grace');
  await grace.receives('waitlist', ({ state, place }) => state === 'left' && place === 0);
  assert.equal(grace.of('waitlist').length, 2);
  assert.deepEqual(grace.of('reservation'), []);
});

test('the end of the sale ends the wait', async (t) => {
  const { sale } = await soldOutSale();
  await join(sale, 'grace');
  const grace = await useWatcher(t, here, sale.saleId, { buyer: 'grace' });
  await grace.receives('waitlist', ({ state }) => state === 'waiting');
  await sale.change({ status: 'ended' });
  await grace.receives('waitlist', ({ state, place }) => state === 'left' && place === 0);
});

test('a buyer served while the subscription was cut still receives the message', async (t) => {
  const { sale, reservationId } = await soldOutSale();
  await join(sale, 'grace');
  const grace = await useWatcher(t, here, sale.saleId, { buyer: 'grace' });
  await grace.receives('waitlist', ({ place }) => place === 1);
  const cut = shards.of(sale.saleId).client.client('KILL', 'TYPE', 'PUBSUB');
  await there.call(`/v1/reservations/${reservationId}/cancel`, { method: 'POST', buyer: 'winner' });
  await cut;
  await grace.receives('waitlist', ({ state }) => state === 'served');
  assert.deepEqual(
    grace.of('waitlist').map(({ state }) => state),
    ['waiting', 'served'],
  );
});

test('ranks in a long, fast-moving waitlist are sent at most once a second, and correctly', async (t) => {
  const { sale } = await soldOutSale();
  const waiting = Array.from({ length: 300 }, (_, i) => `buyer-${i}`);
  for (const buyer of waiting) await join(sale, buyer);
  const watchers = await Promise.all(
    waiting.slice(-250).map((buyer) => useWatcher(t, here, sale.saleId, { buyer })),
  );
  for (const watcher of watchers) await watcher.receives('waitlist', () => true);
  for (const buyer of waiting.slice(0, 50)) {
    await leave(sale, buyer);
    await sleep(40);
  }
  for (const [i, watcher] of watchers.entries()) {
    await watcher.receives('waitlist', ({ place }) => place === i + 1);
    const times = watcher.messages
      .filter(({ message }) => message.type === 'waitlist')
      .map(({ atMs }) => atMs);
    // The first message is sent on connecting. A busy machine may deliver two late, and the next one soon after.
    const seconds = (times.at(-1)! - times[0]!) / 1_000;
    assert.ok(times.length <= 3 + seconds, `${times.length} messages in ${seconds} s`);
    const ranks = watcher.of('waitlist').map(({ place }) => place);
    assert.deepEqual(
      ranks,
      [...ranks].sort((a, b) => b - a),
    );
  }
});

async function soldOutSale(): Promise<{ sale: TestSale; reservationId: string }> {
  const sale = await openSale(shards, { phone: 1 });
  const { body } = await there.buy(sale.saleId, 'winner');
  return { sale, reservationId: body.reservationId };
}

async function join(sale: TestSale, buyer: string): Promise<void> {
  const path = `/v1/sales/${sale.saleId}/waitlist`;
  assert.equal((await there.call(path, { method: 'POST', buyer })).status, 201);
}

async function leave(sale: TestSale, buyer: string): Promise<void> {
  const path = `/v1/sales/${sale.saleId}/waitlist`;
  assert.equal((await there.call(path, { method: 'DELETE', buyer })).status, 200);
}
