import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { type ReserveOutcome, reserve } from '../../src/lua/buy/reserve.ts';
import { saleKey } from '../../src/lua/keys.ts';
import type { Shards } from '../../src/redis/shards.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

async function buy(
  through: Shards,
  saleId: string,
  baskets: { buyerId: string; items: string }[],
): Promise<ReserveOutcome[]> {
  const requests = baskets.map((basket) => ({
    ...basket,
    idempotencyKey: '',
    requestId: '',
    traceparent: '',
  }));
  return through.call(reserve, saleId, { tag: 'batchtag', backlogMax: 1_000_000, requests });
}

test('a user without the permission to publish leaves no decision half written', async (t) => {
  const { client } = shards.of('any');
  await client.acl('SETUSER', 'app', 'on', '>pw', '+@all', '~fs:*', '&fs:*');
  const app = await useShards(t, redis.url.replace('redis://', 'redis://app:pw@'));
  const sale = await openSale(shards, { phone: 10 });
  await client.acl('SETUSER', 'app', 'resetchannels');
  for (const buyerId of ['a', 'b', 'c']) {
    const [reply] = await buy(app, sale.saleId, [{ buyerId, items: 'phone*1' }]);
    assert.equal(reply!.outcome, 'reserved');
  }
  const { stock, position, events } = await sale.state();
  assert.deepEqual([stock[0]!.held, position, events], [3, 3, 3]);
  const entries = await client.xrange(saleKey(sale.saleId, 'events'), '-', '+');
  assert.deepEqual(
    entries.map(([, fields]) => fields[fields.indexOf('s') + 1]),
    ['1', '2', '3'],
  );
});

test('the largest possible batch is decided, whatever SKUs it names', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const baskets = Array.from({ length: 256 }, (_, buyer) => ({
    buyerId: `b${buyer}`,
    items: Array.from({ length: 10 }, (_each, item) => `no-${buyer}-${item}*1`).join(','),
  }));
  baskets.push({ buyerId: 'sure', items: 'phone*1' });
  const replies = await buy(shards, sale.saleId, baskets);
  assert.equal(replies.pop()!.outcome, 'reserved');
  for (const [buyer, reply] of replies.entries()) {
    if (reply.outcome !== 'unknown_sku') assert.fail(reply.outcome);
    assert.equal(reply.skus.map((sku) => `${sku}*1`).join(','), baskets[buyer]!.items);
  }
});

test('counts are found without a search, however few there are', async () => {
  const { saleId } = await openSale(shards, { phone: 10 });
  const { client } = shards.of(saleId);
  assert.equal(await client.object('ENCODING', saleKey(saleId, 'stock')), 'hashtable');
});
