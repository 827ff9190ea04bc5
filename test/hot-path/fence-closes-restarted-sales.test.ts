import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';

test('a restarted Redis sells nothing until recovery has checked it', async (t) => {
  const redis = await useRedisWithIdentity(t);
  const shards = await useShards(t, redis.url);
  const hotPath = await useHotPath(t, redis.url);
  const sale = await openSale(shards, { phone: 10 });
  assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
  await redis.kill();
  await redis.start();
  await eventually(() => assert.ok(hotPath.internals.shards.isReady && shards.isReady));
  for (const buyer of ['ada', 'bob']) {
    const reply = await hotPath.buy(sale.saleId, buyer);
    assert.equal(reply.status, 503);
    assert.equal(reply.body.code, 'recovering');
    assert.match(String(reply.headers['retry-after']), /^[1-5]$/);
  }
  const me = await hotPath.call(`/v1/sales/${sale.saleId}/me`, { buyer: 'ada' });
  assert.equal(me.body.code, 'recovering');
  assert.equal((await sale.state()).stock[0]!.held, 1, 'the decision is still there');
});

test('a sale that FLUSHALL removed is recovering, not unknown, also for a hot path that does not know it', async (t) => {
  const redis = await useRedisWithIdentity(t);
  const shards = await useShards(t, redis.url);
  const hotPath = await useHotPath(t, redis.url);
  const sale = await openSale(shards, { phone: 10 });
  const bought = await hotPath.buy(sale.saleId, 'ada');
  assert.equal(bought.status, 201);
  assert.equal((await hotPath.buy('never-seen', 'ada')).body.code, 'sale_not_found');
  await shards.of(sale.saleId).client.flushall();
  for (const [method, path] of [
    ['POST', `/v1/sales/${sale.saleId}/buy`],
    ['GET', `/v1/sales/${sale.saleId}/me`],
  ] as const) {
    const reply = await hotPath.call(path, { method, buyer: 'ada' });
    assert.equal(reply.body.code, 'recovering', path);
  }
  await eventually(async () => {
    const reply = await hotPath.call(`/v1/sales/${sale.saleId}`);
    assert.equal(reply.body.code, 'recovering');
  });
  const newcomer = await useHotPath(t, redis.url);
  for (const path of [
    `sales/${sale.saleId}`,
    `sales/${sale.saleId}/me`,
    `reservations/${bought.body.reservationId}`,
  ]) {
    const { status, body, headers } = await newcomer.call(`/v1/${path}`, { buyer: 'ada' });
    assert.deepEqual([path, status, body.code], [path, 503, 'recovering']);
    assert.ok(Number(headers['retry-after']) > 0, path);
  }
});

test('a hot path waits for a Redis that is unavailable at start, and is not ready', async (t) => {
  const redis = await useRedisWithIdentity(t);
  await redis.kill();
  const hotPath = await useHotPath(t, redis.url, {}, false);
  const unready = await hotPath.call('/readyz');
  assert.equal(unready.status, 503);
  assert.deepEqual(unready.body.missing, ['redis']);
  assert.equal((await hotPath.call('/healthz')).status, 200);
  const reply = await hotPath.buy('some-sale', 'ada');
  assert.equal(reply.status, 503);
  assert.equal(reply.body.code, 'unavailable');
  await redis.start();
  await eventually(async () => assert.equal((await hotPath.call('/readyz')).status, 200));
  assert.equal((await hotPath.buy('some-sale', 'ada')).status, 404);
});
