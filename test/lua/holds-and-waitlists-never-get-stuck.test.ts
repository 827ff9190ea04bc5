import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../src/lua/buy/leave-waitlist.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';

const TAG = 'batchtag';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

async function buy(sale: TestSale, buyers: string[], items: string, idempotencyKey = '') {
  const requests = buyers.map((buyerId) => ({
    buyerId,
    idempotencyKey,
    items,
    requestId: '',
    traceparent: '',
  }));
  return shards.call(reserve, sale.saleId, { tag: TAG, backlogMax: 1_000_000, requests });
}

test('an extended hold, the last of its batch, keeps its later deadline and expires', async () => {
  const sale = await openSale(shards, { phone: 3 }, { holdSeconds: 2 });
  await buy(sale, ['a', 'b', 'c'], 'phone*1');
  await shards.call(transition, sale.saleId, {
    address: { saleId: sale.saleId, position: 3, tag: TAG },
    transition: 'extend',
    detail: '',
    requestId: '',
    traceparent: '',
    tag: TAG,
  });
  const { nowMs } = await sale.state();
  await sale.untilServerTime(nowMs + 2_000);
  // Two of the three, so that only the extended hold is left of the batch.
  for (let call = 0; call < 3; call++) await shards.call(sweep, sale.saleId, { most: 2, tag: TAG });
  assert.equal((await sale.state()).stock[0]!.held, 1);
  await sale.untilServerTime(nowMs + 4_000);
  await shards.call(sweep, sale.saleId, { most: 2, tag: TAG });
  assert.equal((await sale.state()).stock[0]!.held, 0);
});

test('a waitlist that nobody leaves delays no other SKU, and the sweep rests', async () => {
  const sale = await openSale(shards, { a: 2, b: 1 }, { perBuyerLimit: 2 });
  await buy(sale, ['x'], 'a*2');
  await buy(sale, ['z'], 'b*1');
  const join = (buyerId: string, sku: string, quantity = 1) =>
    shards.call(joinWaitlist, sale.saleId, { buyerId, sku, quantity });
  assert.equal((await join('q0', 'a', 2)).outcome, 'joined');
  for (let i = 1; i < 120; i++) await join(`q${i}`, 'a', 2);
  await join('y', 'b');
  await sale.change({}, [
    { sku: 'a', delta: 1 },
    { sku: 'b', delta: 1 },
  ]);
  const reply = await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  if (reply.outcome !== 'swept') assert.fail(reply.outcome);
  assert.equal(reply.served, 1);
  assert.notEqual(reply.nextDueMs, 0, 'there is nothing more to do now');
  const served = await shards.call(readBuyer, sale.saleId, 'y');
  if (served.outcome !== 'known') assert.fail(served.outcome);
  assert.equal(served.reservations[0]!.status, 'reserved');
});

test('a buyer who waits for more units than are loaded keeps none of them from others', async () => {
  const sale = await openSale(shards, { phone: 9 }, { perBuyerLimit: 20 });
  const join = (quantity: number) =>
    shards.call(joinWaitlist, sale.saleId, { buyerId: 'patient', sku: 'phone', quantity });
  assert.equal((await join(9)).outcome, 'available');
  assert.equal((await join(21)).outcome, 'limit_reached');
  assert.equal((await join(10)).outcome, 'joined');
  const [early] = await buy(sale, ['early'], 'phone*9');
  assert.equal(early!.outcome, 'reserved');
  await sale.change({}, [{ sku: 'phone', delta: 10 }]);
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  const [stock] = (await sale.state()).stock;
  assert.deepEqual([stock!.waiting, stock!.held, stock!.remaining], [0, 19, 0]);
});

/** Releases the hold at a position; its units go to the waitlist first. */
async function release(sale: TestSale, position: number) {
  const reply = await shards.call(transition, sale.saleId, {
    address: { saleId: sale.saleId, position, tag: TAG },
    transition: 'give-back',
    detail: '',
    requestId: '',
    traceparent: '',
    tag: TAG,
  });
  assert.equal(reply.outcome, 'changed');
}

async function readOwn(sale: TestSale, buyerId: string) {
  const reply = await shards.call(readBuyer, sale.saleId, buyerId);
  if (reply.outcome !== 'known') assert.fail(reply.outcome);
  return reply;
}

for (const way of ['a hold is released', 'the first entry leaves'] as const) {
  test(`an expired hold does not cost its buyer the waitlist entry when ${way}`, async () => {
    const sale = await openSale(shards, { a: 1, b: 5 }, { perBuyerLimit: 2, holdSeconds: 4 });
    const join = (buyerId: string, quantity: number) =>
      shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'a', quantity });
    // Position 1 has expired when position 2, all units of `a`, is released.
    await buy(sale, ['q'], 'b*1', 'first');
    const { nowMs } = await sale.state();
    await sale.untilServerTime(nowMs + 2_400);
    await buy(sale, ['owner'], 'a*1');
    await sale.change({}, [{ sku: 'a', delta: 1 }]);
    await buy(sale, ['other'], 'a*1');
    if (way === 'the first entry leaves') await join('two', 2);
    await join('q', 1);
    await join('behind', 1);
    await buy(sale, ['q'], 'b*1', 'second');
    await sale.untilServerTime(nowMs + 4_000);
    await release(sale, 2);
    if (way === 'the first entry leaves') {
      await shards.call(leaveWaitlist, sale.saleId, { buyerId: 'two', tag: TAG });
    }
    assert.equal((await readOwn(sale, 'q')).waiting.length, 1);
    await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
    const own = await readOwn(sale, 'q');
    assert.deepEqual(
      own.reservations.map(({ status, items }) => [items[0]!.sku, status]),
      [
        ['b', 'expired'],
        ['b', 'reserved'],
        ['a', 'reserved'],
      ],
    );
    assert.equal((await sale.state()).stock[0]!.waiting, 1);
  });
}

test('an entry for more units than an operator has left does not block the waitlist', async () => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 10, holdSeconds: 2 });
  await buy(sale, ['early'], 'phone*10');
  for (const [buyerId, quantity] of [['all', 10] as const, ['one', 1] as const]) {
    await shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'phone', quantity });
  }
  await sale.change({ status: 'paused' });
  await sale.untilServerTime((await sale.state()).nowMs + 2_000);
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  await sale.change({}, [{ sku: 'phone', delta: -1 }]);
  await sale.change({ status: 'open' });
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  const [stock] = (await sale.state()).stock;
  assert.deepEqual([stock!.waiting, stock!.held, stock!.remaining], [1, 1, 8]);
  const [late] = await buy(sale, ['late'], 'phone*1');
  assert.equal(late!.outcome, 'reserved');
});

test('a buyer served from the waitlist gets that reservation when buying', async () => {
  const sale = await openSale(shards, { phone: 1 });
  await buy(sale, ['first'], 'phone*1');
  await shards.call(joinWaitlist, sale.saleId, { buyerId: 'waits', sku: 'phone', quantity: 1 });
  await release(sale, 1);
  const [again] = await buy(sale, ['waits'], 'phone*1');
  assert.equal(again!.outcome, 'replayed');
});

test('a buyer is served however many wait for more than is free, in one call', async () => {
  const sale = await openSale(shards, { phone: 5 }, { perBuyerLimit: 5 });
  await buy(sale, ['a', 'b', 'c', 'd', 'e'], 'phone*1');
  const join = (buyerId: string, quantity: number) =>
    shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'phone', quantity });
  for (let i = 0; i < 300; i++) await join(`many-${i}`, 2 + (i % 4));
  await join('one', 1);
  await release(sale, 1);
  assert.equal((await readOwn(sale, 'one')).reservations[0]!.status, 'reserved');
  await release(sale, 2);
  // Nobody waits for a single unit, so anybody can have it.
  assert.equal((await buy(sale, ['walk-in'], 'phone*1'))[0]!.outcome, 'reserved');
  // Two units: the first of those who wait for two, who has kept the rank.
  await release(sale, 3);
  await release(sale, 4);
  assert.equal((await readOwn(sale, 'many-0')).reservations[0]!.status, 'reserved');
  assert.equal((await sale.state()).stock[0]!.waiting, 299);
});

test('a loaded unit is not on sale while a waiting buyer can take it, also before the sweep', async () => {
  const sale = await openSale(shards, { phone: 5 }, { perBuyerLimit: 5 });
  await buy(sale, ['early'], 'phone*5');
  await shards.call(joinWaitlist, sale.saleId, { buyerId: 'three', sku: 'phone', quantity: 3 });
  await sale.change({}, [{ sku: 'phone', delta: 2 }]);
  assert.equal((await buy(sale, ['walk-in'], 'phone*1'))[0]!.outcome, 'reserved');
  await sale.change({}, [{ sku: 'phone', delta: 2 }]);
  assert.equal((await buy(sale, ['other'], 'phone*1'))[0]!.outcome, 'sold_out');
  const late = { buyerId: 'late', sku: 'phone', quantity: 1 };
  assert.equal((await shards.call(joinWaitlist, sale.saleId, late)).outcome, 'joined');
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  assert.equal((await readOwn(sale, 'three')).reservations[0]!.status, 'reserved');
  assert.equal((await readOwn(sale, 'late')).reservations.length, 0);
});

test('buyers who wait for more than a lowered limit leave the waitlist', async () => {
  const sale = await openSale(shards, { phone: 5 }, { perBuyerLimit: 5 });
  await buy(sale, ['early'], 'phone*5');
  for (const [buyerId, quantity] of [['five', 5] as const, ['two', 2] as const]) {
    await shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'phone', quantity });
  }
  await sale.change({ perBuyerLimit: 4 });
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  assert.equal((await readOwn(sale, 'five')).waiting.length, 0);
  assert.equal((await readOwn(sale, 'two')).waiting.length, 1);
});
