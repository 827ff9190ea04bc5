import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Reply, useHotPath } from '../../harness/engine/hot-path.ts';
import { applyTransition, reservationsOf } from '../../harness/sales/reservations.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import type { SkuDefinition } from '../../src/domain/sale.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

const RARE: SkuDefinition = { sku: 'rare', name: 'rare', price: 1_999, perBuyerLimit: 2 };
const COMMON: SkuDefinition = { sku: 'common', name: 'common', price: 1_999 };

/** At most 2 of `rare`, and 5 units in all. */
const limitedSale = (rare = 100) =>
  openSale(shards, { rare, common: 100 }, { perBuyerLimit: 5, skus: [RARE, COMMON] });

const buy = ({ saleId }: TestSale, buyer: string, items: Record<string, number>) =>
  hotPath.buy(saleId, buyer, {
    body: { items: Object.entries(items).map(([sku, quantity]) => ({ sku, quantity })) },
  });

const join = ({ saleId }: TestSale, buyer: string, quantity: number) =>
  hotPath.call(`/v1/sales/${saleId}/waitlist`, {
    method: 'POST',
    buyer,
    body: { sku: 'rare', quantity },
  });

const cancel = ({ body }: Reply, buyer: string) =>
  hotPath.call(`/v1/reservations/${body.reservationId}/cancel`, { method: 'POST', buyer });

const meOf = async ({ saleId }: TestSale, buyer: string) =>
  (await hotPath.call(`/v1/sales/${saleId}/me`, { buyer })).body;

function assertReached(reply: Reply, sku: string | undefined, limit: number, left: number) {
  const { code, remainingAllowance } = reply.body;
  assert.deepEqual(
    [reply.status, code, reply.body.sku, reply.body.limit, remainingAllowance],
    [409, 'limit_reached', sku, limit, left],
  );
}

test("no buyer gets more units of a SKU than its limit, over all the buyer's reservations", async () => {
  const sale = await limitedSale();
  assertReached(await buy(sale, 'ada', { rare: 3 }), 'rare', 2, 2);
  assert.equal((await buy(sale, 'ada', { rare: 1, common: 1 })).status, 201);
  assertReached(await buy(sale, 'ada', { rare: 2 }), 'rare', 2, 1);
  assert.equal((await buy(sale, 'ada', { rare: 1 })).status, 201);
  assertReached(await buy(sale, 'ada', { rare: 1, common: 2 }), 'rare', 2, 0);
  // The limit of the sale holds beside it.
  assertReached(await buy(sale, 'ada', { common: 3 }), undefined, 5, 2);
  assert.equal((await buy(sale, 'ada', { common: 2 })).status, 201);
  assert.equal((await buy(sale, 'bob', { rare: 2 })).status, 201);

  const pressed = await Promise.all(
    [1, 2, 3, 4, 5].map((common) => buy(sale, 'eve', { rare: 1, common })),
  );
  assert.ok(pressed.filter(({ status }) => status === 201).length <= 2);
  const own = await reservationsOf(shards, sale.saleId, 'eve');
  const rare = own.flatMap(({ items }) => items).filter(({ sku }) => sku === 'rare');
  assert.ok(rare.length >= 1 && rare.length <= 2);
});

test('what is cancelled counts no more, what is confirmed still does', async () => {
  const sale = await limitedSale();
  const first = await buy(sale, 'ada', { rare: 1 });
  const [reservation] = await reservationsOf(shards, sale.saleId, 'ada');
  await applyTransition(shards, reservation!, 'confirm');
  const second = await buy(sale, 'ada', { rare: 1, common: 1 });
  assert.deepEqual([first.status, second.status], [201, 201]);
  assertReached(await buy(sale, 'ada', { rare: 1, common: 2 }), 'rare', 2, 0);
  assert.equal((await cancel(second, 'ada')).status, 200);
  assert.equal((await buy(sale, 'ada', { rare: 1, common: 2 })).status, 201);
});

test("a sale's view shows the limits of its SKUs, and /me what they still allow", async () => {
  const sale = await limitedSale();
  const { body } = await hotPath.call(`/v1/sales/${sale.saleId}`);
  const limits = (body.skus as Partial<SkuDefinition>[]).map(({ perBuyerLimit }) => perBuyerLimit);
  assert.deepEqual(limits, [2, undefined]);
  assert.ok(!('perBuyerLimit' in body.skus[1]));
  const rare = (remainingAllowance: number) => [
    { sku: 'rare', perBuyerLimit: 2, remainingAllowance },
  ];
  assert.deepEqual((await meOf(sale, 'ada')).skus, rare(2));
  await buy(sale, 'ada', { rare: 1 });
  assert.deepEqual((await meOf(sale, 'ada')).skus, rare(1));
  await buy(sale, 'ada', { common: 4 });
  const me = await meOf(sale, 'ada');
  assert.deepEqual([me.remainingAllowance, me.skus], [0, rare(0)]);
  const plain = await openSale(shards, { common: 5 });
  assert.deepEqual((await meOf(plain, 'ada')).skus, []);
});

test('the waitlist gives nobody more units of a SKU than its limit', async () => {
  const sale = await limitedSale(3);
  const ada = await buy(sale, 'ada', { rare: 1 });
  const bob = await buy(sale, 'bob', { rare: 2 });
  assert.deepEqual([ada.status, bob.status], [201, 201]);
  const greedy = await join(sale, 'ada', 2);
  assertReached(greedy, 'rare', 2, 1);
  assert.equal((await join(sale, 'ada', 1)).status, 201);
  assert.equal((await join(sale, 'eve', 1)).status, 201);
  // With the lower limit ada can never be served, and eve is.
  await sale.change({ skus: [{ ...RARE, perBuyerLimit: 1 }, COMMON] });
  assert.equal((await cancel(bob, 'bob')).status, 200);
  const unitsOf = async (buyer: string) => {
    const own = await reservationsOf(shards, sale.saleId, buyer);
    return own.filter(({ status }) => status === 'reserved').length;
  };
  assert.deepEqual([await unitsOf('ada'), await unitsOf('eve')], [1, 1]);
  assert.equal((await sale.state()).stock[0]!.waiting, 0);
});

test('a limit that is removed or raised holds no more', async () => {
  const sale = await limitedSale();
  assertReached(await buy(sale, 'ada', { rare: 3 }), 'rare', 2, 2);
  await sale.change({ skus: [{ ...RARE, perBuyerLimit: 3 }, COMMON] });
  assert.equal((await buy(sale, 'ada', { rare: 3 })).status, 201);
  const { perBuyerLimit: _, ...unlimited } = RARE;
  await sale.change({ skus: [unlimited, COMMON] });
  assert.equal((await buy(sale, 'bob', { rare: 5 })).status, 201);
});

test('a buyer above the limit of a sold-out SKU gets limit_reached also from memory', async () => {
  const sale = await limitedSale(2);
  assert.equal((await buy(sale, 'winner', { rare: 2 })).status, 201);
  for (let i = 0; i < 20; i++) {
    assert.equal((await buy(sale, `late-${i}`, { rare: 1 })).body.code, 'sold_out');
    assertReached(await buy(sale, `greedy-${i}`, { rare: 3 }), 'rare', 2, 2);
  }
});
