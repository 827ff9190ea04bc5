/** An admin that stops during an export, during a change, and while PostgreSQL is unresponsive. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { TOKENS } from '../../harness/engine/admin.ts';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';

/** A process that has not closed by then exits with 1. */
const CLOSE_DEADLINE_MS = 10_000;
/** Few rows are exported in a moment; many exceed all buffers between two processes. */
const FEW_ROWS = 3_000;
const MANY_ROWS = 40_000;
const HEADERS = {
  authorization: `Bearer ${TOKENS.operator}`,
  'content-type': 'application/json',
};

const { redis, postgres, servers } = await useStoppableServers(FILE);

async function spawnAdmin(t: TestContext): Promise<EngineProcess> {
  const admin = await useEngineProcess(t, 'admin', {
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
    ADMIN_TOKENS: `operator:${TOKENS.operator}`,
  });
  return admin.untilReady();
}

async function stopInTime(admin: EngineProcess): Promise<void> {
  const { code, tookMs } = await admin.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < CLOSE_DEADLINE_MS, `stopping took ${tookMs} ms`);
}

test('an export that the client reads completes; an unread one fails visibly', async (t) => {
  const [few, many] = [await fillSale(FEW_ROWS), await fillSale(MANY_ROWS)];
  const leaving = await spawnAdmin(t);
  const [read, unread] = await Promise.all([beginExport(leaving, few), beginExport(leaving, many)]);
  let text = '';
  read.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  const whole = once(read, 'end');
  const stopped = stopInTime(leaving);
  await whole;
  assert.equal(
    text.split('\r\n').length,
    FEW_ROWS + 2,
    'header, rows, and the empty text after the last line',
  );
  await stopped;
  unread.resume();
  await assert.rejects(once(unread, 'end'), 'a cut response does not look complete');
});

test('a change that waits for Redis is completed once, by the next admin', async (t) => {
  const { saleId } = await makeSale(servers, { stock: 10 });
  const leaving = await spawnAdmin(t);
  await usePause(t, redis);
  const load = (admin: EngineProcess) =>
    fetch(`${admin.url}/admin/v1/sales/${saleId}/stock`, {
      method: 'POST',
      headers: { ...HEADERS, 'idempotency-key': 'delivery-7' },
      body: JSON.stringify({ sku: 'unit', delta: 5 }),
    });
  const responded = load(leaving);
  await eventually(async () => {
    const [row] = await servers.sql`
      SELECT count(*)::int AS recorded FROM sale_operations WHERE sale_id = ${saleId}`;
    assert.equal(row!.recorded, 2);
  });
  await stopInTime(leaving);
  const refused = await responded;
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);

  redis.resume();
  const next = await spawnAdmin(t);
  await eventually(async () => assert.equal((await load(next)).status, 200));
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.loaded, 15);
});

test('requests that wait for an unresponsive PostgreSQL get 503, and the process stops on time', async (t) => {
  const { saleId } = await makeSale(servers);
  const leaving = await spawnAdmin(t);
  // Work for the repairer: an operation that was recorded and never applied.
  await servers.sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
    SELECT sale_id, 2, 'test', definition, '[]', 'pending', actor, request_id FROM sale_operations
    WHERE sale_id = ${saleId}`;
  await usePause(t, postgres);
  const waiting = Array.from({ length: 30 }, () =>
    fetch(`${leaving.url}/admin/v1/sales`, { headers: HEADERS }),
  );
  // The repairer runs at an interval; it must be waiting for PostgreSQL, too.
  await sleep(2_500);
  await stopInTime(leaving);
  for (const response of await Promise.all(waiting)) {
    assert.equal(response.status, 503);
    assert.ok(Number(response.headers.get('retry-after')) > 0);
  }
});

/** A sale with inserted rows. Returns its id. */
async function fillSale(rows: number): Promise<string> {
  const { saleId } = await makeSale(servers);
  await servers.sql`
    INSERT INTO reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
      idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent)
    SELECT ${saleId} || '_' || n || '_AAAAAAAA', ${saleId}, 'buyer-' || n, 'reserved', '[]', 0, 'EUR', n, 1,
      '', now(), now(), now(), repeat('r', 400), ''
    FROM generate_series(1, ${rows}::integer) AS n`;
  return saleId;
}

/** Resolves when the response begins. */
async function beginExport(admin: EngineProcess, saleId: string): Promise<IncomingMessage> {
  const url = `${admin.url}/admin/v1/reservations.csv?saleId=${saleId}`;
  const request = get(url, { headers: HEADERS });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  return response;
}
