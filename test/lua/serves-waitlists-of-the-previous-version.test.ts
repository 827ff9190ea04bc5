/**
 * The previous version keeps the waitlist without `lineByQuantity`. Its waitlists are served by the present rule, also
 * while its processes still run beside the present ones and change them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buy, hold } from '../../harness/sales/purchases.ts';
import { applyTransition, reservationsOf } from '../../harness/sales/reservations.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { saleKey } from '../../src/lua/keys.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

const join = (sale: TestSale, buyerId: string, quantity: number) =>
  shards.call(joinWaitlist, sale.saleId, { buyerId, sku: 'unit', quantity });

const memberOf = (buyerId: string, quantity: number, ticket: number) =>
  `unit\t${String(ticket).padStart(12, '0')}\t${buyerId}\t${quantity}`;

/** What a process of the previous version writes when a buyer joins. */
async function joinAsBefore({ saleId }: TestSale, buyerId: string, quantity: number) {
  const { client } = shards.of(saleId);
  const ticket = await client.hincrby(saleKey(saleId, 'sale'), 'tickets', 1);
  const member = memberOf(buyerId, quantity, ticket);
  await client.zadd(saleKey(saleId, 'line'), 0, member);
  await client.hset(saleKey(saleId, 'waiting'), `${buyerId}\tunit`, member);
  await client.hincrby(saleKey(saleId, 'stock'), 'unit:waiting', 1);
}

async function leaveAsBefore(
  { saleId }: TestSale,
  buyerId: string,
  quantity: number,
  ticket: number,
) {
  const { client } = shards.of(saleId);
  await client.zrem(saleKey(saleId, 'line'), memberOf(buyerId, quantity, ticket));
  await client.hdel(saleKey(saleId, 'waiting'), `${buyerId}\tunit`);
  await client.hincrby(saleKey(saleId, 'stock'), 'unit:waiting', -1);
}

/** Sweeps until nothing more is due. Returns the number of calls. */
async function sweepAll({ saleId }: TestSale): Promise<number> {
  for (let calls = 1; ; calls++) {
    const reply = await shards.call(sweep, saleId, { most: 50, tag: 'swepttag' });
    if (reply.outcome !== 'swept') assert.fail(reply.outcome);
    if (reply.nextDueMs !== 0) return calls;
  }
}

async function isServed({ saleId }: TestSale, buyerId: string): Promise<boolean> {
  return (await reservationsOf(shards, saleId, buyerId)).length > 0;
}

test('a waitlist of the previous version stays in order, and is served by the present rule after a sweep', async () => {
  const sale = await openSale(shards, { unit: 5 }, { perBuyerLimit: 5 });
  const held = await hold(shards, sale.saleId, ['a', 'b', 'c', 'd', 'e']);
  const count = 2_100;
  await joinAsBefore(sale, 'five', 5);
  for (let i = 0; i < count; i++) await joinAsBefore(sale, `four-${i}`, 4);
  await joinAsBefore(sale, 'one', 1);
  await applyTransition(shards, held[0]!, 'give-back');
  // Until lineByQuantity is made, nobody overtakes.
  assert.equal((await buy(shards, sale.saleId, ['walk-in']))[0]!.outcome, 'sold_out');
  assert.equal(await isServed(sale, 'one'), false);
  assert.ok((await sweepAll(sale)) > 2, 'a long waitlist is copied in several calls');
  assert.equal(await isServed(sale, 'one'), true);
  await applyTransition(shards, held[1]!, 'give-back');
  assert.equal((await buy(shards, sale.saleId, ['walk-in']))[0]!.outcome, 'reserved');
  assert.equal((await sale.state()).stock[0]!.waiting, count + 1);
});

test('a member that joins through the previous version is not overtaken', async () => {
  const sale = await openSale(shards, { unit: 4 }, { perBuyerLimit: 4 });
  const held = await hold(shards, sale.saleId, ['a', 'b', 'c', 'd']);
  assert.equal((await join(sale, 'four', 4)).outcome, 'joined');
  await joinAsBefore(sale, 'one', 1);
  assert.equal((await join(sale, 'late', 1)).outcome, 'joined');
  await applyTransition(shards, held[0]!, 'give-back');
  assert.equal((await buy(shards, sale.saleId, ['walk-in']))[0]!.outcome, 'sold_out');
  await sweepAll(sale);
  assert.equal(await isServed(sale, 'one'), true);
  assert.equal(await isServed(sale, 'late'), false);
});

test('a member that the previous version has served is not served twice', async () => {
  const sale = await openSale(shards, { unit: 4 }, { perBuyerLimit: 4 });
  const held = await hold(shards, sale.saleId, ['a', 'b', 'c', 'd']);
  for (const buyerId of ['one', 'two']) await join(sale, buyerId, 1);
  await leaveAsBefore(sale, 'one', 1, 1);
  await applyTransition(shards, held[0]!, 'give-back');
  assert.equal(await isServed(sale, 'one'), false);
  assert.equal(await isServed(sale, 'two'), true);
  await sweepAll(sale);
  const { client } = shards.of(sale.saleId);
  assert.equal(await client.zcard(saleKey(sale.saleId, 'lineByQuantity')), 0);
  await applyTransition(shards, held[1]!, 'give-back');
  assert.equal((await buy(shards, sale.saleId, ['walk-in']))[0]!.outcome, 'reserved');
});
