import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
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

test('an extended hold that is all that is left of a batch keeps its later deadline, and ends', async () => {
  const sale = await openSale(shards, { phone: 3 }, { holdSeconds: 1 });
  await buy(sale, ['a', 'b', 'c'], 'phone*1');
  await shards.call(transition, sale.saleId, {
    address: { saleId: sale.saleId, position: 3, tag: TAG },
    transition: 'extend',
    detail: '',
    requestId: '',
    traceparent: '',
    tag: TAG,
  });
  await sleep(1_100);
  // Two of the three, so that the rest of the batch is the one that was extended.
  for (let call = 0; call < 3; call++) await shards.call(sweep, sale.saleId, { most: 2, tag: TAG });
  assert.equal((await sale.state()).stock[0]!.held, 1);
  await sleep(1_100);
  await shards.call(sweep, sale.saleId, { most: 2, tag: TAG });
  assert.equal((await sale.state()).stock[0]!.held, 0);
});

test('a long line behind somebody who has to wait keeps no other SKU waiting, and the sweep at rest', async () => {
  const sale = await openSale(shards, { a: 2, b: 1 }, { perBuyerLimit: 2 });
  await buy(sale, ['x'], 'a*2');
  await buy(sale, ['z'], 'b*1');
  const join = (buyerId: string, sku: string, quantity = 1) =>
    shards.call(joinWaitlist, sale.saleId, { buyerId, sku, quantity });
  assert.equal((await join('q0', 'a', 2)).outcome, 'joined');
  for (let i = 1; i < 120; i++) await join(`q${i}`, 'a');
  await join('y', 'b');
  await sale.change({}, [
    { sku: 'a', delta: 1 },
    { sku: 'b', delta: 1 },
  ]);
  const reply = await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  if (reply.outcome !== 'swept') assert.fail(reply.outcome);
  assert.equal(reply.served, 1);
  assert.notEqual(reply.nextDueMs, 0, 'nothing more can be done now');
  const served = await shards.call(readBuyer, sale.saleId, 'y');
  if (served.outcome !== 'known') assert.fail(served.outcome);
  assert.equal(served.reservations[0]!.status, 'reserved');
});

test('nobody may wait for more than there is while something is there', async () => {
  const sale = await openSale(shards, { phone: 9 }, { perBuyerLimit: 20 });
  const join = (quantity: number) =>
    shards.call(joinWaitlist, sale.saleId, { buyerId: 'evil', sku: 'phone', quantity });
  assert.equal((await join(10)).outcome, 'available');
  await buy(sale, ['early'], 'phone*9');
  assert.equal((await join(10)).outcome, 'insufficient_stock');
  assert.equal((await join(9)).outcome, 'joined');
});

/** Moves the hold at a position back to stock; whoever waits is next. */
async function giveBack(sale: TestSale, position: number) {
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

async function ownOf(sale: TestSale, buyerId: string) {
  const reply = await shards.call(readBuyer, sale.saleId, buyerId);
  if (reply.outcome !== 'known') assert.fail(reply.outcome);
  return reply;
}

for (const way of ['is given back', 'was first and leaves'] as const) {
  test(`a hold that is over costs nobody the place when another ${way}`, async () => {
    const sale = await openSale(shards, { a: 1, b: 5 }, { perBuyerLimit: 2, holdSeconds: 2 });
    const join = (buyerId: string, quantity: number) =>
      shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'a', quantity });
    // Position 1 will be over when position 2, which is all of `a`, returns.
    await buy(sale, ['q'], 'b*1', 'first');
    await sleep(1_200);
    await buy(sale, ['owner'], 'a*1');
    await sale.change({}, [{ sku: 'a', delta: 1 }]);
    await buy(sale, ['other'], 'a*1');
    if (way === 'was first and leaves') await join('two', 2);
    await join('q', 1);
    await join('behind', 1);
    await buy(sale, ['q'], 'b*1', 'second');
    await sleep(1_000);
    await giveBack(sale, 2);
    if (way === 'was first and leaves') {
      await shards.call(leaveWaitlist, sale.saleId, { buyerId: 'two', tag: TAG });
    }
    assert.equal((await ownOf(sale, 'q')).waiting.length, 1);
    await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
    const own = await ownOf(sale, 'q');
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

test('whoever waits for more than an operator has left keeps nobody waiting', async () => {
  const sale = await openSale(shards, { phone: 10 }, { perBuyerLimit: 10, holdSeconds: 1 });
  await buy(sale, ['early'], 'phone*10');
  for (const [buyerId, quantity] of [['all', 10] as const, ['one', 1] as const]) {
    await shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'phone', quantity });
  }
  await sale.change({ status: 'paused' });
  await sleep(1_100);
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  await sale.change({}, [{ sku: 'phone', delta: -1 }]);
  await sale.change({ status: 'open' });
  await shards.call(sweep, sale.saleId, { most: 100, tag: TAG });
  const [stock] = (await sale.state()).stock;
  assert.deepEqual([stock!.waiting, stock!.held, stock!.remaining], [0, 1, 8]);
  const [late] = await buy(sale, ['late'], 'phone*1');
  assert.equal(late!.outcome, 'reserved');
});

test('whoever was served from the line and presses buy sees what the line gave', async () => {
  const sale = await openSale(shards, { phone: 1 });
  await buy(sale, ['first'], 'phone*1');
  await shards.call(joinWaitlist, sale.saleId, { buyerId: 'waits', sku: 'phone', quantity: 1 });
  await giveBack(sale, 1);
  const [again] = await buy(sale, ['waits'], 'phone*1');
  assert.equal(again!.outcome, 'replayed');
});
