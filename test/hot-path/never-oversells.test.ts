import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPaths = [await useHotPath(FILE, redis.url), await useHotPath(FILE, redis.url)];

test('2,000 buyers at once through two hot paths get exactly the 100 units, in order', async () => {
  const sale = await openSale(shards, { phone: 100 });
  const replies = await Promise.all(
    Array.from({ length: 2_000 }, (_, i) => hotPaths[i % 2]!.buy(sale.saleId, `buyer-${i}`)),
  );
  const won = replies.filter(({ status }) => status === 201);
  const lost = replies.filter(({ status, body }) => status === 409 && body.code === 'sold_out');
  assert.equal(won.length, 100);
  assert.equal(lost.length, 1_900);
  const positions = won.map(({ body }) => body.position as number).sort((a, b) => a - b);
  assert.deepEqual(
    positions,
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  assert.equal(new Set(won.map(({ body }) => body.reservationId)).size, 100);
  assert.equal(new Set(won.map(({ body }) => body.buyerId)).size, 100);
  const [phone] = (await sale.state()).stock;
  assert.deepEqual([phone!.loaded, phone!.remaining, phone!.held], [100, 0, 100]);
});

test('many waiting buyers are decided in few script calls', async () => {
  const sale = await openSale(shards, { phone: 1_000 });
  await hotPaths[0]!.buy(sale.saleId, 'first');
  const client = shards.of(sale.saleId).client;
  await client.config('RESETSTAT');
  await Promise.all(
    Array.from({ length: 600 }, (_, i) => hotPaths[0]!.buy(sale.saleId, `buyer-${i}`)),
  );
  const calls = Number(/cmdstat_xadd:calls=(\d+)/.exec(await client.info('commandstats'))?.[1]);
  assert.ok(calls < 200, `600 buyers took ${calls} calls`);
});

test('a basket is reserved completely or not at all', async () => {
  const sale = await openSale(shards, { phone: 5, case: 2 }, { perBuyerLimit: 10 });
  const basket = {
    items: [
      { sku: 'phone', quantity: 1 },
      { sku: 'case', quantity: 1 },
    ],
  };
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      hotPaths[i % 2]!.buy(sale.saleId, `b${i}`, { body: basket }),
    ),
  );
  assert.equal(replies.filter(({ status }) => status === 201).length, 2);
  assert.equal(replies.filter(({ body }) => body.code === 'sold_out').length, 18);
  const { stock } = await sale.state();
  assert.deepEqual(
    stock.map(({ sku, remaining, held }) => [sku, remaining, held]),
    [
      ['phone', 3, 2],
      ['case', 0, 2],
    ],
  );
  const won = replies.find(({ status }) => status === 201)!;
  assert.equal(won.body.total, 2 * 1_999);
  assert.equal(won.body.items.length, 2);
});

test('a quantity above the remaining units gets insufficient_stock, not sold_out', async () => {
  const sale = await openSale(shards, { phone: 2 }, { perBuyerLimit: 10 });
  const reply = await hotPaths[0]!.buy(sale.saleId, 'ada', {
    body: { sku: 'phone', quantity: 3 },
  });
  assert.equal(reply.status, 409);
  assert.equal(reply.body.code, 'insufficient_stock');
  assert.equal((await sale.state()).stock[0]!.remaining, 2);
});

test('no buyer gets more units than the limit, whatever the keys', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 3 });
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      hotPaths[i % 2]!.buy(sale.saleId, 'greedy', { key: `k${i}` }),
    ),
  );
  assert.equal(replies.filter(({ status }) => status === 201).length, 3);
  assert.equal(replies.filter(({ body }) => body.code === 'limit_reached').length, 47);
  const me = await hotPaths[0]!.call(`/v1/sales/${sale.saleId}/me`, { buyer: 'greedy' });
  assert.equal(me.body.reservations.length, 3);
  assert.equal(me.body.remainingAllowance, 0);
});
