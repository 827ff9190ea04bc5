import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { applyTransition, reservationsOf } from '../../harness/sales/reservations.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

test('fifty concurrent requests with one key make one reservation', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 5 });
  const replies = await Promise.all(
    Array.from({ length: 50 }, () => hotPath.buy(sale.saleId, 'ada', { key: 'once' })),
  );
  assert.equal(replies.filter(({ status }) => status === 201).length, 1);
  const repeated = replies.filter(({ status }) => status === 200);
  assert.equal(repeated.length, 49);
  for (const { headers } of repeated) assert.equal(headers['idempotent-replayed'], 'true');
  assert.equal(new Set(replies.map(({ body }) => body.reservationId)).size, 1);
  assert.equal((await sale.state()).stock[0]!.held, 1);
});

test('without a key, the same basket is the same purchase, however it is written', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 5 });
  const first = await hotPath.buy(sale.saleId, 'ada');
  assert.equal(first.status, 201);
  const phone = { sku: 'phone', quantity: 1 };
  for (const body of [undefined, phone, { sku: 'phone' }, { items: [phone] }]) {
    const again = await hotPath.buy(sale.saleId, 'ada', { body });
    assert.equal(again.status, 200);
    assert.deepEqual(again.body, first.body);
  }

  const two = await openSale(shards, { a: 9, b: 9 }, { perBuyerLimit: 9 });
  const [a, b] = [
    { sku: 'a', quantity: 1 },
    { sku: 'b', quantity: 2 },
  ];
  const both = await hotPath.buy(two.saleId, 'ada', { body: { items: [a, b] } });
  assert.equal(both.status, 201);
  const turned = await hotPath.buy(two.saleId, 'ada', { body: { items: [b, a] } });
  assert.deepEqual([turned.status, turned.body], [200, both.body]);
});

test('without a key, another basket is another purchase, within the limit', async () => {
  const sale = await openSale(shards, { a: 100, b: 100 }, { perBuyerLimit: 5 });
  const buy = (items: { sku: string; quantity: number }[]) =>
    hotPath.buy(sale.saleId, 'ada', { body: { items } });
  const baskets = [
    [{ sku: 'a', quantity: 1 }],
    [{ sku: 'a', quantity: 2 }],
    [{ sku: 'b', quantity: 1 }],
  ];
  const bought = [];
  for (const basket of baskets) bought.push(await buy(basket));
  assert.deepEqual(
    bought.map(({ status }) => status),
    [201, 201, 201],
  );
  for (const [index, basket] of baskets.entries()) {
    const again = await buy(basket);
    assert.deepEqual([again.status, again.body], [200, bought[index]!.body]);
  }
  assert.equal((await buy([{ sku: 'b', quantity: 2 }])).body.code, 'limit_reached');
  // Concurrent requests share a batch.
  const pressed = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      hotPath.buy(sale.saleId, 'bob', { body: { items: baskets[index % 2] } }),
    ),
  );
  assert.equal(pressed.filter(({ status }) => status === 201).length, 2);
  assert.equal(new Set(pressed.map(({ body }) => body.reservationId)).size, 2);
});

test('without a key, a basket can be bought again once its reservation is cancelled, not while it is confirmed', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 5 });
  const buy = (quantity: number) =>
    hotPath.buy(sale.saleId, 'ada', { body: { sku: 'phone', quantity } });
  const [one, two] = [await buy(1), await buy(2)];
  const [first, second] = await reservationsOf(shards, sale.saleId, 'ada');
  await applyTransition(shards, first!, 'confirm');
  await applyTransition(shards, second!, 'cancel');
  const paid = await buy(1);
  assert.deepEqual(
    [paid.status, paid.body.reservationId, paid.body.status],
    [200, one.body.reservationId, 'confirmed'],
  );
  const next = await buy(2);
  assert.equal(next.status, 201);
  assert.notEqual(next.body.reservationId, two.body.reservationId);
});

test('the repeated response equals the first, also with unusual names and quantities', async () => {
  const sku = '9007199254740991';
  const sale = await openSale(shards, { [sku]: 100 }, { saleId: `${sku}-u0001`, perBuyerLimit: 5 });
  const buyers = ['ada', 'a"b', 'c\\d', '\\u0001', sku];
  const buy = () =>
    Promise.all(
      buyers.map((buyer, index) =>
        hotPath.buy(sale.saleId, buyer, {
          key: '\\u0001',
          body: { sku, quantity: 1 + (index % 2) },
        }),
      ),
    );
  const [first, again] = [await buy(), await buy()];
  for (const [index, { status, body }] of first.entries()) {
    assert.equal(status, 201);
    assert.equal(body.buyerId, buyers[index]);
    assert.equal(body.items[0].quantity, 1 + (index % 2));
    assert.deepEqual(again[index]!.body, body);
  }
});

test('a key used for another basket gets 422 and changes nothing', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 5 });
  await hotPath.buy(sale.saleId, 'ada', { key: 'k', body: { sku: 'phone', quantity: 1 } });
  const other = await hotPath.buy(sale.saleId, 'ada', {
    key: 'k',
    body: { sku: 'phone', quantity: 2 },
  });
  assert.equal(other.status, 422);
  assert.equal(other.body.code, 'idempotency_key_reused');
  assert.equal((await sale.state()).stock[0]!.held, 1);
  const another = await hotPath.buy(sale.saleId, 'bob', {
    key: 'k',
    body: { sku: 'phone', quantity: 2 },
  });
  assert.equal(another.status, 201, 'keys belong to one buyer');
});

test('equal baskets in another order are the same request', async () => {
  const sale = await openSale(shards, { a: 9, b: 9 }, { perBuyerLimit: 5 });
  const [one, two] = [
    { sku: 'a', quantity: 1 },
    { sku: 'b', quantity: 2 },
  ];
  const first = await hotPath.buy(sale.saleId, 'ada', { key: 'k', body: { items: [one, two] } });
  const second = await hotPath.buy(sale.saleId, 'ada', { key: 'k', body: { items: [two, one] } });
  assert.equal(second.status, 200);
  assert.equal(second.body.reservationId, first.body.reservationId);
});

test('a repeated request gets the reservation after sell-out, pause and end', async () => {
  const sale = await openSale(shards, { phone: 1 });
  const won = await hotPath.buy(sale.saleId, 'ada', { key: 'k' });
  assert.equal(won.status, 201);

  assert.equal((await hotPath.buy(sale.saleId, 'bob')).body.code, 'sold_out');
  assert.equal((await hotPath.buy(sale.saleId, 'ada', { key: 'k' })).status, 200);

  await sale.change({ status: 'paused' });
  assert.equal((await hotPath.buy(sale.saleId, 'bob')).body.code, 'sale_paused');
  assert.equal((await hotPath.buy(sale.saleId, 'ada', { key: 'k' })).status, 200);

  await sale.change({ status: 'ended' });
  const late = await hotPath.buy(sale.saleId, 'bob');
  assert.equal(late.status, 410);
  assert.equal(late.body.code, 'sale_ended');
  const again = await hotPath.buy(sale.saleId, 'ada', { key: 'k' });
  assert.equal(again.status, 200);
  assert.deepEqual(again.body, won.body);
});

test('a sale sells only between its start and its end', async () => {
  const soon = Date.now() + 3_000;
  const sale = await openSale(shards, { phone: 5 }, { startsAt: soon, endsAt: soon + 3_000 });
  const early = await hotPath.buy(sale.saleId, 'ada');
  assert.equal(early.body.code, 'sale_not_started');
  assert.equal(early.body.startsAt, new Date(soon).toISOString());
  await sale.untilServerTime(soon);
  assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
  await sale.untilServerTime(soon + 3_000);
  assert.equal((await hotPath.buy(sale.saleId, 'bob')).body.code, 'sale_ended');
  await eventually(async () => {
    assert.equal((await hotPath.call(`/v1/sales/${sale.saleId}`)).body.status, 'ended');
  });

  const draft = await openSale(shards, { phone: 5 }, { status: 'draft' });
  assert.equal((await hotPath.buy(draft.saleId, 'ada')).body.code, 'sale_not_started');
  await draft.change({ status: 'open' });
  assert.equal(
    (await hotPath.buy(draft.saleId, 'ada')).status,
    201,
    'at once, without a stale view',
  );
});
