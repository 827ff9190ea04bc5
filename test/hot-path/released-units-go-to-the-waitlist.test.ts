import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const one = await useHotPath(FILE, redis.url);
const two = await useHotPath(FILE, redis.url);

const cancel = (hotPath: TestHotPath, reservationId: string, buyer: string) =>
  hotPath.call(`/v1/reservations/${reservationId}/cancel`, { method: 'POST', buyer });
const join = (hotPath: TestHotPath, saleId: string, buyer: string, body?: unknown) =>
  hotPath.call(`/v1/sales/${saleId}/waitlist`, { method: 'POST', buyer, body });
const me = (hotPath: TestHotPath, saleId: string, buyer: string) =>
  hotPath.call(`/v1/sales/${saleId}/me`, { buyer });

test('the units of a cancelled reservation are on sale again, once, through every hot path', async () => {
  const sale = await openSale(shards, { phone: 1 });
  const won = await one.buy(sale.saleId, 'ada');
  assert.equal((await two.buy(sale.saleId, 'bob')).body.code, 'sold_out');

  const cancelled = await cancel(one, won.body.reservationId, 'ada');
  assert.equal(cancelled.status, 200);
  assert.equal(cancelled.body.status, 'cancelled');
  const again = await cancel(two, won.body.reservationId, 'ada');
  assert.equal(again.status, 200);
  assert.equal(again.headers['idempotent-replayed'], 'true');

  assert.equal((await two.buy(sale.saleId, 'bob')).status, 201);
  assert.equal((await one.buy(sale.saleId, 'cyd')).body.code, 'sold_out');
  const [phone] = (await sale.state()).stock;
  assert.deepEqual([phone!.loaded, phone!.remaining, phone!.held], [1, 0, 1]);
});

test('fifty concurrent cancellations release the units once', async () => {
  const sale = await openSale(shards, { phone: 5 });
  const won = await one.buy(sale.saleId, 'ada');
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, i) => cancel(i % 2 ? one : two, won.body.reservationId, 'ada')),
  );
  assert.ok(replies.every(({ status }) => status === 200));
  assert.equal(replies.filter(({ headers }) => !headers['idempotent-replayed']).length, 1);
  assert.equal((await sale.state()).stock[0]!.remaining, 5);
});

test("a buyer cannot cancel another buyer's reservation, nor an unknown one", async () => {
  const sale = await openSale(shards, { phone: 5 });
  const won = await one.buy(sale.saleId, 'ada');
  const id: string = won.body.reservationId;
  for (const [reservationId, buyer] of [
    [id, 'eve'],
    [id.replace(/.{8}$/, 'zzzzzzzz'), 'ada'],
    [id.replace('_1_', '_2_'), 'ada'],
    ['nonsense', 'ada'],
    ['no-such-sale_1_aaaaaaaa', 'ada'],
  ]) {
    const reply = await cancel(one, reservationId!, buyer!);
    assert.equal(reply.status, 404);
    assert.equal(reply.body.code, 'reservation_not_found');
  }
  assert.equal((await sale.state()).stock[0]!.held, 1);
});

test('after a cancellation, a buyer without a key buys again, and one with the key gets the ended reservation', async () => {
  const sale = await openSale(shards, { phone: 5 });
  const keyed = await one.buy(sale.saleId, 'ada', { key: 'k' });
  await cancel(one, keyed.body.reservationId, 'ada');
  const ended = await one.buy(sale.saleId, 'ada', { key: 'k' });
  assert.equal(ended.status, 200);
  assert.equal(ended.body.status, 'cancelled');

  const keyless = await one.buy(sale.saleId, 'ada');
  assert.equal(keyless.status, 201);
  await cancel(one, keyless.body.reservationId, 'ada');
  const second = await one.buy(sale.saleId, 'ada');
  assert.equal(second.status, 201);
  assert.notEqual(second.body.reservationId, keyless.body.reservationId);
});

test('released units go to the waitlist first, in order', async () => {
  const sale = await openSale(shards, { phone: 2 });
  const [a, b] = [await one.buy(sale.saleId, 'a'), await one.buy(sale.saleId, 'b')];
  const places = [];
  for (const buyer of ['w1', 'w2', 'w3']) places.push(await join(two, sale.saleId, buyer));
  assert.deepEqual(
    places.map(({ status, body }) => [status, body.place]),
    [
      [201, 1],
      [201, 2],
      [201, 3],
    ],
  );
  const again = await join(one, sale.saleId, 'w2');
  assert.equal(again.status, 200);
  assert.equal(again.body.place, 2);
  assert.deepEqual((await me(one, sale.saleId, 'w2')).body.waitlist, [
    { sku: 'phone', quantity: 1, place: 2 },
  ]);

  await cancel(one, a.body.reservationId, 'a');
  const served = await me(two, sale.saleId, 'w1');
  assert.equal(served.body.reservations[0].status, 'reserved');
  assert.deepEqual([a.body.source, served.body.reservations[0].source], ['purchase', 'waitlist']);
  assert.deepEqual(served.body.waitlist, []);
  assert.equal((await me(two, sale.saleId, 'w2')).body.waitlist[0].place, 1);
  assert.equal((await one.buy(sale.saleId, 'walk-in')).body.code, 'sold_out');

  // A buyer who has left the waitlist is skipped.
  const left = await two.call(`/v1/sales/${sale.saleId}/waitlist`, {
    method: 'DELETE',
    buyer: 'w2',
  });
  assert.deepEqual(left.body, { saleId: sale.saleId, left: 1, waitlist: [] });
  await cancel(one, b.body.reservationId, 'b');
  assert.equal((await me(two, sale.saleId, 'w2')).body.reservations.length, 0);
  assert.equal((await me(two, sale.saleId, 'w3')).body.reservations[0].status, 'reserved');
});

test('loaded units are not on sale while buyers are on the waitlist', async () => {
  const sale = await openSale(shards, { phone: 1 });
  await one.buy(sale.saleId, 'a');
  await join(one, sale.saleId, 'w1');
  await sale.change({}, [{ sku: 'phone', delta: 1 }]);
  assert.equal((await two.buy(sale.saleId, 'walk-in')).body.code, 'sold_out');
  await eventually(async () => {
    const { body } = await two.call(`/v1/sales/${sale.saleId}`);
    assert.deepEqual([body.skus[0].remaining, body.skus[0].soldOut], [0, true]);
  });
});

test('the waitlist enforces the limit, and accepts only quantities that are not on sale', async () => {
  const sale = await openSale(shards, { phone: 1, case: 2 }, { perBuyerLimit: 2 });
  const early = await join(one, sale.saleId, 'w', { sku: 'phone' });
  assert.equal(early.status, 409);
  assert.equal(early.body.code, 'invalid_transition');
  for (const [sku, quantity] of [
    ['phone', 1],
    ['case', 2],
  ]) {
    const bought = await one.buy(sale.saleId, `b-${sku}`, { body: { sku, quantity } });
    assert.equal(bought.status, 201);
  }
  assert.equal((await join(one, sale.saleId, 'w', { sku: 'phone' })).status, 201);
  assert.equal(
    (await join(one, sale.saleId, 'w', { sku: 'case', quantity: 2 })).body.code,
    'limit_reached',
  );
  assert.equal((await join(one, sale.saleId, 'w', { sku: 'case' })).status, 201);
  const left = await one.call(`/v1/sales/${sale.saleId}/waitlist`, {
    method: 'DELETE',
    buyer: 'w',
  });
  assert.equal(left.body.left, 2);
});

test('a buyer can wait for units that are not loaded yet, up to the limits', async () => {
  const sale = await openSale(
    shards,
    { phone: 0, case: 1 },
    {
      perBuyerLimit: 3,
      skus: [
        { sku: 'phone', name: 'Phone', price: 1 },
        { sku: 'case', name: 'Case', price: 1, perBuyerLimit: 2 },
      ],
    },
  );
  const { saleId } = sale;
  for (const [sku, limit, ofSku] of [
    ['phone', 3, undefined],
    ['case', 2, 'case'],
  ] as const) {
    const { status, body } = await join(one, saleId, 'greedy', { sku, quantity: limit + 1 });
    assert.deepEqual(
      [status, body.code, body.limit, body.remainingAllowance, body.sku, body.waitlist],
      [409, 'limit_reached', limit, limit, ofSku, []],
    );
  }
  const early = await join(one, saleId, 'early', { sku: 'phone' });
  assert.deepEqual(
    [early.status, early.body],
    [201, { saleId, sku: 'phone', quantity: 1, place: 1 }],
  );
  // More than are loaded, and then all of them are withdrawn.
  assert.equal((await join(one, saleId, 'many', { sku: 'case', quantity: 2 })).status, 201);
  await sale.change({}, [{ sku: 'case', delta: -1 }]);
  const serve = () => shards.call(sweep, saleId, { most: 100, tag: 'servedby' });
  await serve();
  assert.equal((await join(one, saleId, 'next', { sku: 'case' })).body.place, 2);
  await sale.change({}, [
    { sku: 'phone', delta: 1 },
    { sku: 'case', delta: 3 },
  ]);
  await serve();
  for (const [buyer, items] of [
    ['early', [{ sku: 'phone', quantity: 1, unitPrice: 1 }]],
    ['many', [{ sku: 'case', quantity: 2, unitPrice: 1 }]],
    ['next', [{ sku: 'case', quantity: 1, unitPrice: 1 }]],
  ] as const) {
    const { body } = await me(two, saleId, buyer);
    assert.deepEqual([body.waitlist, body.reservations[0].items], [[], items]);
  }
});

test('every response of the waitlist says what is stored, also to a buyer who joins again', async () => {
  const sale = await openSale(shards, { phone: 1, case: 0 }, { perBuyerLimit: 3 });
  const { saleId } = sale;
  await one.buy(saleId, 'owner', { body: { sku: 'phone' } });
  await join(one, saleId, 'ahead', { sku: 'phone' });
  const wanted = { sku: 'phone', quantity: 2 };
  const stored = { ...wanted, place: 2 };
  const asked = async (body: unknown, buyer = 'ada') => {
    const reply = await join(two, saleId, buyer, body);
    const { code, sku, quantity, place } = reply.body;
    return [reply.status, code, { sku, quantity, place }];
  };
  const other = { ...wanted, quantity: 1 };
  const conflict = [409, 'invalid_transition', stored];
  assert.deepEqual(await asked(wanted), [201, undefined, stored]);
  assert.deepEqual(await asked(wanted), [200, undefined, stored]);
  assert.deepEqual(await asked(other), conflict, 'another quantity changes nothing');
  const more = await join(two, saleId, 'ada', { sku: 'case', quantity: 2 });
  assert.deepEqual(
    [more.body.code, more.body.remainingAllowance, more.body.waitlist],
    ['limit_reached', 1, [stored]],
  );
  const another = { sku: 'case', quantity: 1 };
  assert.deepEqual(await asked(another), [201, undefined, { ...another, place: 1 }]);
  const both = [stored, { ...another, place: 1 }];
  assert.deepEqual((await me(one, saleId, 'ada')).body.waitlist, both);

  await sale.change({ status: 'paused' });
  assert.deepEqual(await asked(wanted), [200, undefined, stored]);
  assert.deepEqual(await asked(other), conflict);
  const [status, code] = await asked(wanted, 'new');
  assert.deepEqual([status, code], [409, 'sale_paused']);
  assert.deepEqual((await me(one, saleId, 'ada')).body.waitlist, both);
  const leaving = { method: 'DELETE', buyer: 'ada' };
  const left = await one.call(`/v1/sales/${saleId}/waitlist`, leaving);
  assert.deepEqual(left.body, { saleId, left: 2, waitlist: [] });

  await sale.change({ status: 'ended' });
  assert.equal((await me(one, saleId, 'ahead')).body.waitlist.length, 0, 'nobody is served');
  const late = await join(two, saleId, 'ahead', { sku: 'phone' });
  assert.deepEqual([late.status, late.body.code], [410, 'sale_ended']);
});

test('invalid waitlist requests get a problem', async () => {
  const sale = await openSale(shards, { phone: 1, case: 1 });
  const cases: [body: unknown, status: number, code: string][] = [
    [undefined, 422, 'invalid_request'],
    [{ sku: 'tablet' }, 422, 'invalid_request'],
    [{ sku: 'phone', quantity: 0 }, 422, 'invalid_request'],
    [{ sku: 'phone', more: 1 }, 422, 'invalid_request'],
    ['{', 422, 'invalid_request'],
    [Buffer.alloc(5_000, 0x20), 413, 'payload_too_large'],
  ];
  for (const [body, status, code] of cases) {
    const reply = await join(one, sale.saleId, 'w', body);
    assert.equal(reply.status, status);
    assert.equal(reply.body.code, code);
  }
  assert.equal((await join(one, 'no-such-sale', 'w')).body.code, 'sale_not_found');
  const anonymous = await one.call(`/v1/sales/${sale.saleId}/waitlist`, { method: 'POST' });
  assert.equal(anonymous.status, 401);
  const put = await one.call(`/v1/sales/${sale.saleId}/waitlist`, { method: 'PUT', buyer: 'w' });
  assert.equal(put.headers.allow, 'POST, DELETE, OPTIONS');
});
