/** A front end that is told to stop, in the middle of everything that a client can be in the middle of. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { countResponses, SingleRequestCrowd } from '../../harness/crowds/single-request-crowd.ts';
import {
  type EngineProcess,
  type Stopped,
  useEngineProcess,
} from '../../harness/engine/engine-process.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { ConnectionClosed, KeepAliveClient } from '../../harness/network/keep-alive-client.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

/** Idle connections are waited for a second; a process on a machine that is busy takes a little longer. */
const SOON_MS = 4_000;
const CLOSE_DEADLINE_MS = 10_000;

const { redis, database, servers } = await useServers(FILE);

function spawnFrontEnd(t: Pick<TestContext, 'after'>): Promise<EngineProcess> {
  return useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    BUYER_AUTH: 'header',
    DURABILITY: 'fast',
  });
}

function newClient(t: Pick<TestContext, 'after'>, port: number): KeepAliveClient {
  const client = new KeepAliveClient(port);
  t.after(() => client.close());
  return client;
}

function buyOf(buyerId: string, saleId: string) {
  return {
    method: 'POST',
    path: `/v1/sales/${saleId}/buy`,
    headers: { 'X-Buyer-Id': buyerId },
  };
}

test('under load: whoever was cut off finds out by asking again, and each decision has its event', async (t) => {
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const leaving = await (await spawnFrontEnd(t)).untilReady();
  const staying = await (await spawnFrontEnd(t)).untilReady();
  const crowd = new SingleRequestCrowd([leaving.port], saleId, { connections: 64 });
  await eventually(() => assert.ok(crowd.completed.length > 500));
  const { code, tookMs } = await leaving.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < SOON_MS, `stopping took ${tookMs} ms`);
  await crowd.stop();

  assert.deepEqual(countResponses(crowd.completed), { 201: crowd.completed.length });
  const client = newClient(t, staying.port);
  for (const buyerId of crowd.lost) {
    assert.ok([200, 201].includes((await client.request(buyOf(buyerId, saleId))).status));
  }
  const sold = crowd.completed.length + crowd.lost.length;
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, sold);
  await eventually(async () => {
    const [row] = await servers.sql<{ rows: number; events: number }[]>`
      SELECT (SELECT count(*) FROM reservations WHERE sale_id = ${saleId})::int AS rows,
        (SELECT count(*) FROM reservation_events WHERE sale_id = ${saleId})::int AS events`;
    assert.deepEqual({ ...row }, { rows: sold, events: sold });
  });
  await assertPromisesHold(servers, saleId);
});

test('who waits for Redis, who is silent and who has yet to finish a request', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await spawnFrontEnd(t)).untilReady();
  const { port } = leaving;
  const silent = newClient(t, port);
  assert.equal((await silent.request(buyOf('ada', saleId))).status, 201);

  redis.pause();
  t.after(() => redis.resume());
  const waiting = Array.from({ length: 20 }, (_, i) =>
    newClient(t, port).request(buyOf(`waits-${i}`, saleId)),
  );
  const head = (buyerId: string) =>
    `POST /v1/sales/${saleId}/buy HTTP/1.1\r\nHost: localhost\r\nX-Buyer-Id: ${buyerId}\r\n`;
  const halfBody = newClient(t, port).send(`${head('slow')}Content-Length: 20\r\n\r\n{"sku":`);
  const halfHead = newClient(t, port).send(head('half'));
  const failedHalfHead = assert.rejects(halfHead, ConnectionClosed);
  await sleep(200);
  const stopped = leaving.stop();
  await sleep(200);

  const last = await silent.request({ path: '/healthz' });
  assert.equal(last.status, 200);
  assert.equal(last.headers.connection, 'close', 'it says that it will not be asked again');
  await assert.rejects(
    newClient(t, port).request({ path: '/healthz' }),
    ConnectionClosed,
    'it takes nobody new',
  );
  redis.resume();
  for (const answer of await Promise.all(waiting)) {
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.connection, 'close');
  }
  const refused = await halfBody;
  assert.equal(refused.status, 503);
  assert.equal(JSON.parse(refused.body).code, 'overloaded');
  assert.ok(Number(refused.headers['retry-after']) > 0);
  await failedHalfHead;
  assertQuick(await stopped);
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, 21);
});

test('a second request on a connection whose first has no answer yet', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await spawnFrontEnd(t)).untilReady();
  const staying = await (await spawnFrontEnd(t)).untilReady();
  const client = newClient(t, leaving.port);
  const bystander = newClient(t, leaving.port);
  assert.equal((await bystander.request(buyOf('ada', saleId))).status, 201);
  const wire = (buyerId: string) =>
    `POST /v1/sales/${saleId}/buy HTTP/1.1\r\nHost: localhost\r\nX-Buyer-Id: ${buyerId}\r\nContent-Length: 0\r\n\r\n`;
  redis.pause();
  t.after(() => redis.resume());
  const answered = bystander.request(buyOf('bob', saleId));
  await sleep(100);
  // The library closes such a connection; neither of the two was answered, so both may be asked again.
  await assert.rejects(client.send(wire('first') + wire('second')), ConnectionClosed);
  const stopped = leaving.stop();
  redis.resume();
  assert.equal((await answered).status, 201);
  assertQuick(await stopped);
  const elsewhere = newClient(t, staying.port);
  for (const buyerId of ['first', 'second']) {
    assert.ok([200, 201].includes((await elsewhere.request(buyOf(buyerId, saleId))).status));
  }
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, 4);
});

test('a Redis that says nothing does not keep it', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await (await spawnFrontEnd(t)).untilReady();
  const clients = Array.from({ length: 5 }, () => newClient(t, leaving.port));
  assert.equal((await clients[0]!.request(buyOf('ada', saleId))).status, 201);
  redis.pause();
  t.after(() => redis.resume());
  const asked = clients.map((client, i) => client.request(buyOf(`stuck-${i}`, saleId)));
  await sleep(200);
  const { code, tookMs } = await leaving.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < CLOSE_DEADLINE_MS, `stopping took ${tookMs} ms`);
  for (const answer of await Promise.all(asked)) {
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers['retry-after']) > 0);
  }
});

function assertQuick({ code, tookMs }: Stopped): void {
  assert.equal(code, 0);
  assert.ok(tookMs < SOON_MS, `stopping took ${tookMs} ms`);
}
