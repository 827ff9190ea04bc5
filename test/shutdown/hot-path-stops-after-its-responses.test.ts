/** A hot path that stops while clients wait for responses, are idle, or have sent a part of a request. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  countResponses,
  useSingleRequestCrowd,
} from '../../harness/crowds/single-request-crowd.ts';
import {
  type EngineProcess,
  type Stopped,
  useEngineProcess,
} from '../../harness/engine/engine-process.ts';
import { metric } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { ConnectionClosed, useClient } from '../../harness/network/keep-alive-client.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';

/** The process waits a second for idle connections. The rest is for a busy machine. */
const SOON_MS = 7_000;
const CLOSE_DEADLINE_MS = 10_000;

const { redis, database, servers } = await useServers(FILE);

/** On a busy machine no call times out while Redis is frozen. */
const PATIENT = { REDIS_COMMAND_TIMEOUT_MS: '20000' };

function startHotPathProcess(
  t: Pick<TestContext, 'after'>,
  environment: Record<string, string> = {},
): Promise<EngineProcess> {
  return useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    BUYER_AUTH: 'header',
    DURABILITY: 'fast',
    ...environment,
  });
}

function buyOf(buyerId: string, saleId: string) {
  return {
    method: 'POST',
    path: `/v1/sales/${saleId}/buy`,
    headers: { 'X-Buyer-Id': buyerId },
  };
}

test('under load: a cut-off buyer gets the decision by a repeated request, and each decision has its event', async (t) => {
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const leaving = await (await startHotPathProcess(t)).untilReady();
  const staying = await (await startHotPathProcess(t)).untilReady();
  const crowd = await useSingleRequestCrowd(t, [leaving.port], saleId, { connections: 64 });
  await eventually(() => assert.ok(crowd.completed.length > 500));
  const { code, tookMs } = await leaving.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < SOON_MS, `stopping took ${tookMs} ms`);
  await crowd.stop();

  assert.deepEqual(countResponses(crowd.completed), { 201: crowd.completed.length });
  const client = await useClient(t, staying.port);
  for (const buyerId of crowd.lost) {
    assert.ok([200, 201].includes((await client.request(buyOf(buyerId, saleId))).status));
  }
  const sold = crowd.completed.length + crowd.lost.length;
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, sold);
  await eventually(async () => {
    const [row] = await servers.sql<{ rows: number; events: number }[]>`
      SELECT (SELECT count(*) FROM reservations WHERE sale_id = ${saleId})::int AS rows,
        (SELECT count(*) FROM reservation_history WHERE sale_id = ${saleId})::int AS events`;
    assert.deepEqual({ ...row }, { rows: sold, events: sold });
  });
  await assertPromisesHold(servers, saleId);
});

test('requests that wait for Redis, idle connections and partial requests', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await startHotPathProcess(t, PATIENT)).untilReady();
  const { port } = leaving;
  const idle = await useClient(t, port);
  assert.equal((await idle.request(buyOf('ada', saleId))).status, 201);

  await usePause(t, redis);
  const clients = await Promise.all(Array.from({ length: 20 }, () => useClient(t, port)));
  const waiting = clients.map((client, i) => client.request(buyOf(`waits-${i}`, saleId)));
  const head = (buyerId: string) =>
    `POST /v1/sales/${saleId}/buy HTTP/1.1\r\nHost: localhost\r\nX-Buyer-Id: ${buyerId}\r\n`;
  const halfBody = (await useClient(t, port)).send(
    `${head('slow')}Content-Length: 20\r\n\r\n{"sku":`,
  );
  const halfHead = (await useClient(t, port)).send(head('half'));
  const failedHalfHead = assert.rejects(halfHead, ConnectionClosed);
  await untilPending(leaving, 21);
  const stopped = leaving.stop();
  await eventually(() =>
    assert.rejects(fetch(`${leaving.url}/healthz`), 'it accepts no new connections'),
  );

  const last = await idle.request({ path: '/healthz' });
  assert.equal(last.status, 200);
  assert.equal(last.headers.connection, 'close', 'it announces the end of the connection');
  await assert.rejects(
    (await useClient(t, port)).request({ path: '/healthz' }),
    ConnectionClosed,
    'it accepts no new connections',
  );
  redis.resume();
  for (const response of await Promise.all(waiting)) {
    assert.equal(response.status, 201);
    assert.equal(response.headers.connection, 'close');
  }
  const refused = await halfBody;
  assert.equal(refused.status, 503);
  assert.equal(JSON.parse(refused.body).code, 'overloaded');
  assert.ok(Number(refused.headers['retry-after']) > 0);
  await failedHalfHead;
  assertQuick(await stopped);
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, 21);
});

test('a second request on a connection whose first has no response yet', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await startHotPathProcess(t, PATIENT)).untilReady();
  const staying = await (await startHotPathProcess(t)).untilReady();
  const client = await useClient(t, leaving.port);
  const bystander = await useClient(t, leaving.port);
  assert.equal((await bystander.request(buyOf('ada', saleId))).status, 201);
  const wire = (buyerId: string) =>
    `POST /v1/sales/${saleId}/buy HTTP/1.1\r\nHost: localhost\r\nX-Buyer-Id: ${buyerId}\r\nContent-Length: 0\r\n\r\n`;
  await usePause(t, redis);
  const responded = bystander.request(buyOf('bob', saleId));
  await untilPending(leaving, 1);
  // The library closes such a connection. Neither request got a response, so both may be repeated.
  await assert.rejects(client.send(wire('first') + wire('second')), ConnectionClosed);
  const stopped = leaving.stop();
  redis.resume();
  assert.equal((await responded).status, 201);
  assertQuick(await stopped);
  const elsewhere = await useClient(t, staying.port);
  for (const buyerId of ['first', 'second']) {
    assert.ok([200, 201].includes((await elsewhere.request(buyOf(buyerId, saleId))).status));
  }
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, 4);
});

test('an unresponsive Redis does not delay the stop', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await startHotPathProcess(t)).untilReady();
  const clients = await Promise.all(Array.from({ length: 5 }, () => useClient(t, leaving.port)));
  assert.equal((await clients[0]!.request(buyOf('ada', saleId))).status, 201);
  await usePause(t, redis);
  const requests = clients.map((client, i) => client.request(buyOf(`stuck-${i}`, saleId)));
  await untilPending(leaving, 5);
  const { code, tookMs } = await leaving.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < CLOSE_DEADLINE_MS, `stopping took ${tookMs} ms`);
  for (const response of await Promise.all(requests)) {
    assert.equal(response.status, 503);
    assert.ok(Number(response.headers['retry-after']) > 0);
  }
});

/** Waits until the process has received this many requests that have no response yet. */
async function untilPending(hotPath: EngineProcess, count: number): Promise<void> {
  await eventually(async () =>
    // The request for the metrics is one more.
    assert.equal(await metric(hotPath, 'flash_sale_pending_requests'), count + 1),
  );
}

function assertQuick({ code, tookMs }: Stopped): void {
  assert.equal(code, 0);
  assert.ok(tookMs < SOON_MS, `stopping took ${tookMs} ms`);
}
