/** One process bounds its concurrent requests, over all sales and operations. Requests beyond get 503 at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { useClient } from '../../harness/network/keep-alive-client.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);

test('requests beyond the limit get 503, whatever their sale and operation', async (t) => {
  const most = 30;
  const hotPath = await useHotPath(t, redis.url, { REQUESTS_MAX: String(most) });
  const sales = await Promise.all([1, 2, 3].map(() => openSale(shards, { phone: 100 })));
  for (const { saleId } of sales) assert.equal((await hotPath.buy(saleId, 'ada')).status, 201);
  await usePause(t, redis);
  const waiting = Array.from({ length: most }, (_, i) => {
    const { saleId } = sales[i % 3]!;
    switch (i % 5) {
      case 0:
        return hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' });
      case 1:
        return hotPath.call('/v1/sales/never-heard-of');
      default:
        return hotPath.buy(saleId, `buyer-${i}`);
    }
  });
  await eventually(async () => {
    assert.equal(await hotPath.metric('flash_sale_pending_requests'), most + 1, 'and this one');
  });
  for (const refused of await Promise.all([
    hotPath.buy(sales[0]!.saleId, 'one-too-many'),
    hotPath.call(`/v1/sales/${sales[0]!.saleId}`),
  ])) {
    assert.deepEqual([refused.status, refused.body.code], [503, 'overloaded']);
    assert.match(String(refused.headers['retry-after']), /^[1-5]$/);
  }
  assert.equal((await hotPath.call('/healthz')).status, 200);
  assert.equal(await hotPath.metric('flash_sale_refused_requests_total'), 2);
  redis.resume();
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  assert.deepEqual(new Set(statuses), new Set([200, 201, 404]));
  assert.equal((await hotPath.buy(sales[0]!.saleId, 'one-too-many')).status, 201);
});

test('an incomplete body gives its slot back after a timeout', async (t) => {
  const hotPath = await useHotPath(t, redis.url);
  const client = await useClient(t, hotPath.internals.port);
  const { saleId } = await openSale(shards, { phone: 1 });
  const startedAt = performance.now();
  const refused = await client.send(
    [
      `POST /v1/sales/${saleId}/buy HTTP/1.1`,
      'Host: localhost',
      `Authorization: Bearer ${tokenOf('slow')}`,
      'Content-Length: 20',
      '',
      '{"sku":',
    ].join('\r\n'),
  );
  assert.ok(performance.now() - startedAt < 10_000);
  assert.deepEqual([refused.status, JSON.parse(refused.body).code], [503, 'overloaded']);
  assert.equal(refused.headers.connection, 'close');
  assert.equal(await hotPath.metric('flash_sale_pending_requests'), 1, 'only this one');
  assert.equal((await hotPath.buy(saleId, 'quick')).status, 201);
});
