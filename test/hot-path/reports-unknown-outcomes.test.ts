import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

/** On a busy machine no call times out while Redis is frozen. */
const PATIENT = { REDIS_COMMAND_TIMEOUT_MS: '20000' };

/** The URL of this Redis through another port. */
function through(port: number): string {
  const url = new URL(redis.url);
  url.port = String(port);
  return url.href;
}

test('a reply lost after the script ran gives 503, and the repeated request gets the reservation', async (t) => {
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port: redis.port });
  const hotPath = await useHotPath(t, through(proxy.port));
  const sale = await openSale(shards, { phone: 10 });
  await eventually(async () => {
    assert.equal((await hotPath.buy(sale.saleId, 'warm-up')).status < 300, true);
  });

  proxy.loseReplyTo('unlucky-buyer');
  const lost = await hotPath.buy(sale.saleId, 'unlucky-buyer', { key: 'k' });
  assert.equal(lost.status, 503);
  assert.equal(lost.body.code, 'unavailable');
  assert.match(String(lost.headers['retry-after']), /^[1-5]$/);
  assert.equal((await sale.state()).stock[0]!.held, 2, 'the script ran once');

  await eventually(async () => {
    const again = await hotPath.buy(sale.saleId, 'unlucky-buyer', { key: 'k' });
    assert.equal(again.status, 200);
  });
  assert.equal((await sale.state()).stock[0]!.held, 2, 'the client did not send it twice');
});

test('an unresponsive Redis gives 503 unavailable after the command timeout', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { REDIS_COMMAND_TIMEOUT_MS: '300' });
  const sale = await openSale(shards, { phone: 10 });
  await eventually(async () => assert.ok((await hotPath.buy(sale.saleId, 'ada')).status < 300));
  await usePause(t, redis);
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
});

test('many calls that time out at the same time close the connection once', async (t) => {
  const impatient = await useShards(t, redis.url, { commandTimeoutMs: 300 });
  const sale = await openSale(shards, { phone: 1 });
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on('warning', note);
  t.after(() => process.off('warning', note));
  await usePause(t, redis);
  const read = () => impatient.call(readSale, sale.saleId);
  const calls = await Promise.allSettled(Array.from({ length: 30 }, read));
  redis.resume();
  assert.ok(calls.every(({ status }) => status === 'rejected'));
  // Each attempt to close it added a listener to its socket.
  assert.deepEqual(warnings, []);
  await eventually(async () => assert.equal((await read()).outcome, 'known'));
});

test('a client that disconnects before its script call buys nothing', async (t) => {
  const hotPath = await useHotPath(t, redis.url, {
    ...PATIENT,
    BATCHES_IN_FLIGHT_MAX: '1',
  });
  const sale = await openSale(shards, { phone: 100 });
  assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
  await usePause(t, redis);
  const inFlight = hotPath.buy(sale.saleId, 'in-flight');
  await eventually(() => assert.equal(hotPath.internals.batchers.of(sale.saleId).inFlight, 1));
  const abort = new AbortController();
  const gone = Array.from({ length: 20 }, (_, i) =>
    fetch(`${hotPath.url}/v1/sales/${sale.saleId}/buy`, {
      method: 'POST',
      headers: { authorization: `Bearer ${hotPath.tokenOf(`gone-${i}`)}` },
      signal: abort.signal,
    }).catch(() => 'gone'),
  );
  await eventually(() => assert.equal(hotPath.internals.batchers.of(sale.saleId).waiting, 20));
  abort.abort();
  assert.deepEqual(new Set(await Promise.all(gone)), new Set(['gone']));
  await eventually(async () => {
    // The one in flight, and the request for the metrics.
    assert.equal(await hotPath.metric('flash_sale_pending_requests'), 2);
  });
  redis.resume();
  assert.equal((await inFlight).status, 201);
  await eventually(() => assert.ok(hotPath.internals.batchers.of(sale.saleId).isIdle));
  assert.equal((await sale.state()).stock[0]!.held, 2);
});

test('a full queue gives 503 overloaded at once', async (t) => {
  const hotPath = await useHotPath(t, redis.url, {
    ...PATIENT,
    BATCHES_IN_FLIGHT_MAX: '1',
    WAITING_MAX: '5',
  });
  const sale = await openSale(shards, { phone: 100 });
  assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
  await usePause(t, redis);
  const inFlight = hotPath.buy(sale.saleId, 'in-flight');
  await eventually(() => assert.equal(hotPath.internals.batchers.of(sale.saleId).inFlight, 1));
  const waiting = Array.from({ length: 5 }, (_, i) => hotPath.buy(sale.saleId, `waits-${i}`));
  await eventually(() => assert.equal(hotPath.internals.batchers.of(sale.saleId).waiting, 5));
  const refused = await hotPath.buy(sale.saleId, 'one-too-many');
  assert.equal(refused.status, 503);
  assert.equal(refused.body.code, 'overloaded');
  assert.match(String(refused.headers['retry-after']), /^[1-5]$/);
  redis.resume();
  for (const reply of await Promise.all([inFlight, ...waiting])) assert.equal(reply.status, 201);
});

test('a full backlog stops new purchases, not repeated requests', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { BACKLOG_MAX: '3' });
  const sale = await openSale(shards, { phone: 100 });
  for (const buyer of ['a', 'b', 'c']) {
    assert.equal((await hotPath.buy(sale.saleId, buyer)).status, 201);
  }
  const refused = await hotPath.buy(sale.saleId, 'd');
  assert.equal(refused.status, 503);
  assert.equal(refused.body.code, 'overloaded');
  assert.equal((await hotPath.buy(sale.saleId, 'a')).status, 200);
});

test('closing sends a response to every accepted request', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { ...PATIENT, BATCH_SIZE_MAX: '8' });
  const sale = await openSale(shards, { phone: 1_000 });
  assert.equal((await hotPath.buy(sale.saleId, 'first')).status, 201);
  await usePause(t, redis);
  const buys = Array.from({ length: 150 }, (_, i) => hotPath.buy(sale.saleId, `b-${i}`));
  await eventually(() => assert.ok(hotPath.internals.batchers.waiting > 100));
  const closing = hotPath.internals.close();
  redis.resume();
  for (const { status } of await Promise.all(buys)) assert.equal(status, 201);
  await closing;
  assert.equal((await sale.state()).stock[0]!.held, 151);
  await hotPath.close();
});
