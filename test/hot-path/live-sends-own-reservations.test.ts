import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LiveWatcher, useWatcher } from '../../harness/crowds/live-watcher.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { parseReservationId } from '../../src/domain/identifiers.ts';
import { transition } from '../../src/lua/buy/transition.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const here = await useHotPath(FILE, redis.url);
const there = await useHotPath(FILE, redis.url);

test('a change through another hot path reaches its owner, and no other client', async (t) => {
  const sale = await openSale(shards, { phone: 10 });
  const ada = await useWatcher(t, here, sale.saleId, { buyer: 'ada' });
  const adaToo = await useWatcher(t, there, sale.saleId, { buyer: 'ada' });
  const grace = await useWatcher(t, here, sale.saleId, { buyer: 'grace' });
  const anonymous = await useWatcher(t, here, sale.saleId);
  const { body: reservation } = await there.buy(sale.saleId, 'ada');
  for (const watcher of [ada, adaToo]) {
    const message = await watcher.receives('reservation', () => true);
    assert.deepEqual(message, { type: 'reservation', reservation });
  }
  await confirm(reservation.reservationId);
  for (const watcher of [ada, adaToo]) {
    await watcher.receives('reservation', (message) => message.reservation.status === 'confirmed');
  }
  // A purchase sends to every client: once each has the next state of the sale, earlier messages have arrived.
  await there.buy(sale.saleId, 'next');
  for (const watcher of [ada, adaToo, grace, anonymous]) {
    await watcher.receives('sale', ({ skus }) => skus[0].remaining === 8);
  }
  assert.equal(ada.of('reservation').length, 2);
  assert.deepEqual(grace.of('reservation'), []);
  assert.deepEqual(anonymous.of('reservation'), []);
});

test('a client that reconnects receives the sale first, then its own reservations', async (t) => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 2 });
  const earlier = await useWatcher(t, here, sale.saleId, { buyer: 'ada' });
  const first = (await there.buy(sale.saleId, 'ada', { key: 'one' })).body;
  await earlier.receives('reservation', () => true);
  await earlier.close();
  // While no client of the buyer is connected.
  await confirm(first.reservationId);
  const second = (await there.buy(sale.saleId, 'ada', { key: 'two' })).body;
  const again = await useWatcher(t, here, sale.saleId, { buyer: 'ada' });
  await again.receives(
    'reservation',
    (message) => message.reservation.position === second.position,
  );
  assert.equal(again.messages[0]!.message.type, 'sale');
  assert.deepEqual(
    again.of('reservation').map(({ reservation }) => [reservation.position, reservation.status]),
    [
      [1, 'confirmed'],
      [2, 'reserved'],
    ],
  );
});

test('no older state of a reservation follows a newer one, with clients connecting meanwhile', async (t) => {
  const sale = await openSale(shards, { phone: 500 }, { perBuyerLimit: 100 });
  const watchers: { watcher: LiveWatcher; buyer: string }[] = [];
  const lastIds = new Map<string, string>();
  for (let i = 0; i < 60; i++) {
    // A buyer has at most 20 living reservations.
    const buyer = `ada-${Math.floor(i / 20)}`;
    const bought = there.buy(sale.saleId, buyer, { key: `key-${i}` });
    watchers.push({ watcher: await useWatcher(t, here, sale.saleId, { buyer }), buyer });
    void there.buy(sale.saleId, `other-${i}`);
    const { reservationId } = (await bought).body;
    lastIds.set(buyer, reservationId);
    await confirm(reservationId);
  }
  for (const { watcher, buyer } of watchers) {
    await watcher.receives(
      'reservation',
      ({ reservation }) =>
        reservation.reservationId === lastIds.get(buyer) && reservation.status === 'confirmed',
    );
    const confirmed = new Set<string>();
    for (const { reservation } of watcher.of('reservation')) {
      if (reservation.status === 'confirmed') confirmed.add(reservation.reservationId);
      else assert.ok(!confirmed.has(reservation.reservationId), 'an older state followed');
    }
  }
});

test('a browser authenticates by a subprotocol, and only `flash-sale` is accepted', async (t) => {
  const sale = await openSale(shards, { phone: 10 });
  const protocols = ['flash-sale', `bearer.${tokenOf('ada')}`];
  const watcher = await useWatcher(t, here, sale.saleId, { protocols });
  assert.equal(watcher.socket.protocol, 'flash-sale');
  await there.buy(sale.saleId, 'ada');
  const { reservation } = await watcher.receives('reservation', () => true);
  assert.equal(reservation.buyerId, 'ada');
  const anonymous = await useWatcher(t, here, sale.saleId, { protocols: ['flash-sale'] });
  assert.equal(anonymous.socket.protocol, 'flash-sale');
});

test('behind a gateway, its header identifies the buyer', async (t) => {
  const behindGateway = await useHotPath(t, redis.url, { BUYER_AUTH: 'header' });
  const sale = await openSale(shards, { phone: 10 });
  const watcher = await useWatcher(t, behindGateway, sale.saleId, {
    headers: { 'x-buyer-id': 'ada' },
  });
  await there.buy(sale.saleId, 'ada');
  await watcher.receives('reservation', () => true);
});

test('changes missed while the subscription was cut are read again', async (t) => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 5 });
  const watcher = await useWatcher(t, here, sale.saleId, { buyer: 'ada' });
  await there.buy(sale.saleId, 'ada', { key: 'one' });
  await watcher.receives('reservation', ({ reservation }) => reservation.position === 1);
  const { client } = shards.of(sale.saleId);
  for (let i = 2; i <= 5; i++) {
    const cut = client.client('KILL', 'TYPE', 'PUBSUB');
    await there.buy(sale.saleId, 'ada', { key: `key-${i}` });
    await cut;
    await watcher.receives('reservation', ({ reservation }) => reservation.position === i);
  }
});

test('no process subscribes to the events of a sale without authenticated clients', async (t) => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  const channels = async () =>
    (await client.pubsub('CHANNELS', `*{${sale.saleId}}*:live`)) as unknown as string[];
  const anonymous = await useWatcher(t, here, sale.saleId);
  // A subscription would exist by the time of an update.
  await there.buy(sale.saleId, 'grace');
  await anonymous.receives('sale', ({ skus }) => skus[0].remaining === 9);
  assert.deepEqual(await channels(), []);
  const ada = await useWatcher(t, here, sale.saleId, { buyer: 'ada' });
  await ada.receives('sale', () => true);
  await eventually(async () => assert.equal((await channels()).length, 1));
  await ada.close();
  await eventually(async () => assert.deepEqual(await channels(), []));
});

async function confirm(reservationId: string): Promise<void> {
  const address = parseReservationId(reservationId)!;
  const reply = await shards.call(transition, address.saleId, {
    address,
    transition: 'confirm',
    detail: '',
    requestId: 'request',
    traceparent: '',
    tag: 'abcdefgh',
  });
  assert.equal(reply.outcome, 'changed');
}
