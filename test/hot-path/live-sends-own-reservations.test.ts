import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LiveWatcher, watch } from '../../harness/crowds/live-watcher.ts';
import { startHotPath, tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
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

test('what changes through another front end reaches its owner, and nobody else', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const ada = await watch(here, sale.saleId, { buyer: 'ada' });
  const adaToo = await watch(there, sale.saleId, { buyer: 'ada' });
  const grace = await watch(here, sale.saleId, { buyer: 'grace' });
  const nobody = await watch(here, sale.saleId);
  const { body: reservation } = await there.buy(sale.saleId, 'ada');
  for (const watcher of [ada, adaToo]) {
    const told = await watcher.receives('reservation', () => true);
    assert.deepEqual(told, { type: 'reservation', reservation });
  }
  await confirm(reservation.reservationId);
  for (const watcher of [ada, adaToo]) {
    await watcher.receives('reservation', (told) => told.reservation.status === 'confirmed');
  }
  await sleep(300);
  assert.equal(ada.of('reservation').length, 2);
  assert.deepEqual(grace.of('reservation'), []);
  assert.deepEqual(nobody.of('reservation'), []);
  for (const watcher of [ada, adaToo, grace, nobody]) await watcher.close();
});

test('who comes back is told first how the sale stands, then what one has', async () => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 2 });
  const earlier = await watch(here, sale.saleId, { buyer: 'ada' });
  const first = (await there.buy(sale.saleId, 'ada', { key: 'one' })).body;
  await earlier.receives('reservation', () => true);
  await earlier.close();
  // While nobody listens.
  await confirm(first.reservationId);
  const second = (await there.buy(sale.saleId, 'ada', { key: 'two' })).body;
  const again = await watch(here, sale.saleId, { buyer: 'ada' });
  await again.receives('reservation', (told) => told.reservation.position === second.position);
  assert.deepEqual(
    again.messages.map(({ message }) => message.type),
    ['sale', 'reservation', 'reservation'],
  );
  assert.deepEqual(
    again.of('reservation').map(({ reservation }) => [reservation.position, reservation.status]),
    [
      [1, 'confirmed'],
      [2, 'reserved'],
    ],
  );
  await again.close();
});

test('of a reservation no older state follows a newer one, however often one connects meanwhile', async () => {
  const sale = await openSale(shards, { phone: 500 }, { perBuyerLimit: 100 });
  const watchers: LiveWatcher[] = [];
  let lastId = '';
  const isLast = (reservation: { reservationId: string; status: string }) =>
    reservation.reservationId === lastId && reservation.status === 'confirmed';
  for (let i = 0; i < 60; i++) {
    const bought = there.buy(sale.saleId, 'ada', { key: `key-${i}` });
    watchers.push(await watch(here, sale.saleId, { buyer: 'ada' }));
    void there.buy(sale.saleId, `other-${i}`);
    lastId = (await bought).body.reservationId;
    await confirm(lastId);
  }
  for (const watcher of watchers) {
    await watcher.receives('reservation', ({ reservation }) => isLast(reservation));
    const confirmed = new Set<string>();
    for (const { reservation } of watcher.of('reservation')) {
      if (reservation.status === 'confirmed') confirmed.add(reservation.reservationId);
      else assert.ok(!confirmed.has(reservation.reservationId), 'an older state came after');
    }
    await watcher.close();
  }
});

test('a browser says who it is by a subprotocol, and only `flash-sale` is answered', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const protocols = ['flash-sale', `bearer.${tokenOf('ada')}`];
  const watcher = await watch(here, sale.saleId, { protocols });
  assert.equal(watcher.socket.protocol, 'flash-sale');
  await there.buy(sale.saleId, 'ada');
  const { reservation } = await watcher.receives('reservation', () => true);
  assert.equal(reservation.buyerId, 'ada');
  await watcher.close();
  const anonymous = await watch(here, sale.saleId, { protocols: ['flash-sale'] });
  assert.equal(anonymous.socket.protocol, 'flash-sale');
  await anonymous.close();
});

test('behind a gateway its header says who it is', async () => {
  const behindGateway = await startHotPath(redis.url, { BUYER_AUTH: 'header' });
  const sale = await openSale(shards, { phone: 10 });
  const watcher = await watch(behindGateway, sale.saleId, { headers: { 'x-buyer-id': 'ada' } });
  await there.buy(sale.saleId, 'ada');
  await watcher.receives('reservation', () => true);
  await watcher.close();
  await behindGateway.close();
});

test('what the channel has missed while Redis cut it off is read again', async () => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 5 });
  const watcher = await watch(here, sale.saleId, { buyer: 'ada' });
  await there.buy(sale.saleId, 'ada', { key: 'one' });
  await watcher.receives('reservation', ({ reservation }) => reservation.position === 1);
  const { client } = shards.of(sale.saleId);
  for (let i = 2; i <= 5; i++) {
    const cut = client.client('KILL', 'TYPE', 'PUBSUB');
    await there.buy(sale.saleId, 'ada', { key: `key-${i}` });
    await cut;
    await watcher.receives('reservation', ({ reservation }) => reservation.position === i);
  }
  await watcher.close();
});

test('no process listens to the channel of a sale in which nobody said who they are', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  const channels = async () =>
    (await client.pubsub('CHANNELS', `*{${sale.saleId}}*`)) as unknown as string[];
  const nobody = await watch(here, sale.saleId);
  await sleep(200);
  assert.deepEqual(await channels(), []);
  const ada = await watch(here, sale.saleId, { buyer: 'ada' });
  await ada.receives('sale', () => true);
  await until(async () => (await channels()).length === 1);
  await ada.close();
  await until(async () => (await channels()).length === 0);
  await nobody.close();
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await holds()) return;
    await sleep(20);
  }
  assert.fail('it did not come true');
}

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
