import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { watch } from '../../harness/crowds/live-watcher.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const here = await useHotPath(FILE, redis.url);
const there = await useHotPath(FILE, redis.url);

test('who joins, moves up and is served hears of each, through whatever front end it happens', async () => {
  const { sale, reservationId } = await soldOutSale();
  await join(sale, 'ahead');
  const grace = await watch(here, sale.saleId, { buyer: 'grace' });
  await join(sale, 'grace');
  const inLine = { type: 'waitlist', saleId: sale.saleId, sku: 'phone', quantity: 1 };
  await grace.receives('waitlist', ({ place }) => place === 2);
  await leave(sale, 'ahead');
  await grace.receives('waitlist', ({ place }) => place === 1);
  const cancelled = await there.call(`/v1/reservations/${reservationId}/cancel`, {
    method: 'POST',
    buyer: 'winner',
  });
  assert.equal(cancelled.status, 200);
  await grace.receives('waitlist', ({ state }) => state === 'served');
  await sleep(1_500);
  assert.deepEqual(grace.of('waitlist'), [
    { ...inLine, place: 2, state: 'waiting' },
    { ...inLine, place: 1, state: 'waiting' },
    { ...inLine, place: 0, state: 'served' },
  ]);
  assert.equal(grace.of('reservation')[0].reservation.buyerId, 'grace');
  await grace.close();
});

test('who leaves hears it, and who comes back hears the place that it has', async () => {
  const { sale } = await soldOutSale();
  await join(sale, 'ahead');
  await join(sale, 'grace');
  const grace = await watch(here, sale.saleId, { buyer: 'grace' });
  const first = await grace.receives('waitlist', () => true);
  assert.deepEqual([first.place, first.state], [2, 'waiting']);
  await leave(sale, 'grace');
  await grace.receives('waitlist', ({ state, place }) => state === 'left' && place === 0);
  assert.equal(grace.of('waitlist').length, 2);
  assert.deepEqual(grace.of('reservation'), []);
  await grace.close();
});

test('who was served while the channel was cut hears of it all the same', async () => {
  const { sale, reservationId } = await soldOutSale();
  await join(sale, 'grace');
  const grace = await watch(here, sale.saleId, { buyer: 'grace' });
  await grace.receives('waitlist', ({ place }) => place === 1);
  const cut = shards.of(sale.saleId).client.client('KILL', 'TYPE', 'PUBSUB');
  await there.call(`/v1/reservations/${reservationId}/cancel`, { method: 'POST', buyer: 'winner' });
  await cut;
  await grace.receives('waitlist', ({ state }) => state === 'served');
  assert.deepEqual(
    grace.of('waitlist').map(({ state }) => state),
    ['waiting', 'served'],
  );
  await grace.close();
});

test('a long line that moves fast is told of at most once a second, and then rightly', async () => {
  const { sale } = await soldOutSale();
  const waiting = Array.from({ length: 300 }, (_, i) => `buyer-${i}`);
  for (const buyer of waiting) await join(sale, buyer);
  const watchers = await Promise.all(
    waiting.slice(-250).map((buyer) => watch(here, sale.saleId, { buyer })),
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
    // The first one is the answer to coming.
    for (let j = 2; j < times.length; j++) assert.ok(times[j]! - times[j - 1]! > 900);
    const places = watcher.of('waitlist').map(({ place }) => place);
    assert.deepEqual(
      places,
      [...places].sort((a, b) => b - a),
    );
  }
  for (const watcher of watchers) watcher.socket.close();
  await eventually(() => assert.ok(watchers.every(({ closeCode }) => closeCode !== undefined)));
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
