import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { startCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

/** An address of this Redis through another port. */
function through(port: number): string {
  const url = new URL(redis.url);
  url.port = String(port);
  return url.href;
}

test('a reply lost after the script ran is 503, and the same request then finds its reservation', async () => {
  const proxy = await startCuttableProxy({ host: '127.0.0.1', port: redis.port });
  const hotPath = await startHotPath(through(proxy.port));
  try {
    const sale = await openSale(shards, { phone: 10 });
    await eventually(async () => {
      assert.equal((await hotPath.buy(sale.saleId, 'warm-up')).status < 300, true);
    });

    proxy.loseReplyTo('unlucky-buyer');
    const lost = await hotPath.buy(sale.saleId, 'unlucky-buyer', { key: 'k' });
    assert.equal(lost.status, 503);
    assert.equal(lost.body.code, 'unavailable');
    assert.equal(lost.headers['retry-after'], '1');
    assert.equal((await sale.state()).stock[0]!.held, 2, 'the script ran, once');

    await eventually(async () => {
      const again = await hotPath.buy(sale.saleId, 'unlucky-buyer', { key: 'k' });
      assert.equal(again.status, 200);
    });
    assert.equal((await sale.state()).stock[0]!.held, 2, 'nothing was sent twice');
  } finally {
    await hotPath.close();
    await proxy.close();
  }
});

test('a Redis that stands still is waited for so long, then said to be unavailable', async () => {
  const hotPath = await startHotPath(redis.url, { REDIS_COMMAND_TIMEOUT_MS: '300' });
  try {
    const sale = await openSale(shards, { phone: 10 });
    assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
    redis.pause();
    const startedAt = performance.now();
    const stuck = await hotPath.buy(sale.saleId, 'bob', { key: 'k' });
    redis.resume();
    assert.equal(stuck.status, 503);
    assert.equal(stuck.body.code, 'unavailable');
    assert.ok(performance.now() - startedAt < 2_000);
    await eventually(async () => {
      const again = await hotPath.buy(sale.saleId, 'bob', { key: 'k' });
      assert.ok(again.status === 200 || again.status === 201);
    });
    assert.equal((await sale.state()).stock[0]!.held, 2);
  } finally {
    redis.resume();
    await hotPath.close();
  }
});

test('clients that went away before their call are not sold to', async () => {
  const hotPath = await startHotPath(redis.url, { BATCHES_IN_FLIGHT_MAX: '1' });
  try {
    const sale = await openSale(shards, { phone: 100 });
    assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
    redis.pause();
    const inFlight = hotPath.buy(sale.saleId, 'in-flight');
    await eventually(() => assert.equal(hotPath.parts.batchers.of(sale.saleId).inFlight, 1));
    const abort = new AbortController();
    const gone = Array.from({ length: 20 }, (_, i) =>
      fetch(`${hotPath.url}/v1/sales/${sale.saleId}/buy`, {
        method: 'POST',
        headers: { authorization: `Bearer ${hotPath.tokenOf(`gone-${i}`)}` },
        signal: abort.signal,
      }).catch(() => 'gone'),
    );
    await eventually(() => assert.equal(hotPath.parts.batchers.of(sale.saleId).waiting, 20));
    abort.abort();
    assert.deepEqual(new Set(await Promise.all(gone)), new Set(['gone']));
    await new Promise((resolve) => setTimeout(resolve, 100));
    redis.resume();
    assert.equal((await inFlight).status, 201);
    await eventually(() => assert.ok(hotPath.parts.batchers.of(sale.saleId).isIdle));
    assert.equal((await sale.state()).stock[0]!.held, 2);
  } finally {
    redis.resume();
    await hotPath.close();
  }
});

test('a full line answers overloaded at once', async () => {
  const hotPath = await startHotPath(redis.url, { BATCHES_IN_FLIGHT_MAX: '1', WAITING_MAX: '5' });
  try {
    const sale = await openSale(shards, { phone: 100 });
    assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
    redis.pause();
    const inFlight = hotPath.buy(sale.saleId, 'in-flight');
    await eventually(() => assert.equal(hotPath.parts.batchers.of(sale.saleId).inFlight, 1));
    const waiting = Array.from({ length: 5 }, (_, i) => hotPath.buy(sale.saleId, `waits-${i}`));
    await eventually(() => assert.equal(hotPath.parts.batchers.of(sale.saleId).waiting, 5));
    const refused = await hotPath.buy(sale.saleId, 'one-too-many');
    assert.equal(refused.status, 503);
    assert.equal(refused.body.code, 'overloaded');
    assert.equal(refused.headers['retry-after'], '1');
    redis.resume();
    for (const reply of await Promise.all([inFlight, ...waiting])) assert.equal(reply.status, 201);
  } finally {
    redis.resume();
    await hotPath.close();
  }
});

test('a stream that nobody drains stops admission, not answers', async () => {
  const hotPath = await startHotPath(redis.url, { BACKLOG_MAX: '3' });
  try {
    const sale = await openSale(shards, { phone: 100 });
    for (const buyer of ['a', 'b', 'c']) {
      assert.equal((await hotPath.buy(sale.saleId, buyer)).status, 201);
    }
    const refused = await hotPath.buy(sale.saleId, 'd');
    assert.equal(refused.status, 503);
    assert.equal(refused.body.code, 'overloaded');
    assert.equal((await hotPath.buy(sale.saleId, 'a')).status, 200);
  } finally {
    await hotPath.close();
  }
});

test('closing answers everyone who was read', async () => {
  const hotPath = await startHotPath(redis.url, { BATCH_SIZE_MAX: '8' });
  const sale = await openSale(shards, { phone: 1_000 });
  assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
  redis.pause();
  const buys = Array.from({ length: 150 }, (_, i) => hotPath.buy(sale.saleId, `b-${i}`));
  await eventually(() => assert.ok(hotPath.parts.batchers.waiting > 100));
  const closing = hotPath.parts.close();
  redis.resume();
  for (const { status } of await Promise.all(buys)) assert.equal(status, 201);
  await closing;
  assert.equal((await sale.state()).stock[0]!.held, 151);
  await hotPath.close();
});
