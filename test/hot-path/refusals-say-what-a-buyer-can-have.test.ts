import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Reply, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

type Items = Record<string, number>;

const itemsOf = (items: Items) =>
  Object.entries(items).map(([sku, quantity]) => ({ sku, quantity }));

const buy = ({ saleId }: TestSale, buyer: string, items: Items) =>
  hotPath.buy(saleId, buyer, { body: { items: itemsOf(items) } });

const join = ({ saleId }: TestSale, buyer: string, body: unknown) =>
  hotPath.call(`/v1/sales/${saleId}/waitlist`, { method: 'POST', buyer, body });

function assertShort({ status, body }: Reply, code: string, short: [string, number, number][]) {
  assert.deepEqual([status, body.code], [409, code], JSON.stringify(body));
  const items = short.map(([sku, requested, available]) => ({ sku, requested, available }));
  assert.deepEqual(body.items, items);
}

function assertFields({ status, body }: Reply, fields: string[]) {
  assert.deepEqual([status, body.code], [422, 'invalid_request'], JSON.stringify(body));
  assert.deepEqual(
    (body.errors as { field: string }[]).map(({ field }) => field),
    fields,
  );
}

test('a refusal for lack of units names the SKUs concerned, and how many can be had', async () => {
  const sale = await openSale(shards, { a: 1, b: 3, c: 50 }, { perBuyerLimit: 100 });
  assertShort(await buy(sale, 'ada', { c: 1, b: 5 }), 'insufficient_stock', [['b', 5, 3]]);
  assertShort(await buy(sale, 'ada', { b: 5, a: 2 }), 'insufficient_stock', [
    ['a', 2, 1],
    ['b', 5, 3],
  ]);
  assert.equal((await buy(sale, 'winner', { a: 1 })).status, 201);
  assertShort(await buy(sale, 'ada', { a: 2 }), 'sold_out', [['a', 2, 0]]);
  assertShort(await buy(sale, 'ada', { c: 1, a: 1 }), 'sold_out', [['a', 1, 0]]);
  assertShort(await buy(sale, 'ada', { b: 4, a: 1 }), 'sold_out', [
    ['a', 1, 0],
    ['b', 4, 3],
  ]);
});

test('a refusal without Redis names the same SKUs and numbers', async () => {
  const sale = await openSale(shards, { a: 1, b: 3 }, { perBuyerLimit: 10 });
  assert.equal((await buy(sale, 'winner', { a: 1 })).status, 201);
  const refused = () => hotPath.metric('flash_sale_local_sold_out_total');
  let strangers = 0;
  const before = await refused();
  await eventually(async () => {
    await buy(sale, `stranger-${++strangers}`, { a: 1 });
    assert.ok((await refused()) > before);
  });
  for (const [items, short] of [
    [{ a: 1 }, [['a', 1, 0]]],
    [{ a: 2 }, [['a', 2, 0]]],
    [{ a: 2, b: 1 }, [['a', 2, 0]]],
    [
      { b: 5, a: 1 },
      [
        ['a', 1, 0],
        ['b', 5, 3],
      ],
    ],
  ] as [Items, [string, number, number][]][]) {
    const count = await refused();
    await eventually(async () => {
      assertShort(await buy(sale, `stranger-${++strangers}`, items), 'sold_out', short);
      assert.ok((await refused()) > count);
    });
  }
});

test('limit_reached says the limit, and what it still allows', async () => {
  const sale = await openSale(shards, { a: 10 }, { perBuyerLimit: 3 });
  const told = ({ status, body }: Reply) => [
    status,
    body.code,
    body.limit,
    body.remainingAllowance,
    body.sku,
  ];
  const reached = (left: number) => [409, 'limit_reached', 3, left, undefined];
  assert.deepEqual(told(await buy(sale, 'ada', { a: 4 })), reached(3));
  assert.equal((await buy(sale, 'ada', { a: 2 })).status, 201);
  assert.deepEqual(told(await buy(sale, 'ada', { a: 3 })), reached(1));
  await sale.change({ perBuyerLimit: 1 });
  assert.deepEqual(told(await buy(sale, 'ada', { a: 1 })), [409, 'limit_reached', 1, 0, undefined]);
});

test('the waitlist says it too', async () => {
  const sale = await openSale(shards, { a: 2, b: 2 }, { perBuyerLimit: 3 });
  assert.equal((await buy(sale, 'winner', { a: 2, b: 1 })).status, 201);
  assert.equal((await join(sale, 'ada', { sku: 'a', quantity: 2 })).status, 201);
  const { body } = await join(sale, 'ada', { sku: 'b', quantity: 2 });
  assert.deepEqual([body.code, body.limit, body.remainingAllowance], ['limit_reached', 3, 1]);
  assert.deepEqual(body.waitlist, [{ sku: 'a', quantity: 2, place: 1 }]);
});

test('an unknown SKU is named by its place in the request', async () => {
  const sale = await openSale(shards, { b: 5 });
  assertFields(await buy(sale, 'ada', { b: 1, a: 1 }), ['items.1.sku']);
  assertFields(await buy(sale, 'ada', { z: 1, b: 1, a: 2 }), ['items.0.sku', 'items.2.sku']);
  assertFields(await hotPath.buy(sale.saleId, 'ada', { body: { sku: 'a' } }), ['sku']);
  assertFields(await join(sale, 'ada', { sku: 'a' }), ['sku']);
});

test('each invalid field is named once', async () => {
  const sale = await openSale(shards, { a: 5 });
  for (const [body, fields] of [
    [{ items: [{ sku: 'a', quantity: 1e300 }] }, ['items.0.quantity']],
    [{ items: [{ sku: 'x' }, { sku: 'x' }] }, ['items.1.sku']],
    [
      { items: [{ sku: '' }, { quantity: 0.5 }] },
      ['items.0.sku', 'items.1.sku', 'items.1.quantity'],
    ],
    [{ sku: 'a', more: 1, again: 2 }, ['more', 'again']],
    [{ items: [{ sku: 'a', size: 1 }] }, ['items.0.size']],
  ] as const) {
    assertFields(await hotPath.buy(sale.saleId, 'ada', { body }), [...fields]);
  }
});
