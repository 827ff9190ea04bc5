/**
 * While PostgreSQL is unresponsive, a limited number of operators' requests wait, others get 503 at once, and merchants
 * are not affected.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';

const MOST = 200;

test('requests that wait for PostgreSQL are limited', async (t) => {
  const { postgres, servers } = await useStoppableServers(t);
  const app = await useApp(t, servers);
  const sale = await makeSale(servers);
  const [bought] = await buy(servers.shards, sale.saleId, ['ada']);
  assert.ok(bought && 'record' in bought);
  const { reservationId } = parseRecord(bought.record, sale, 'ada');

  await usePause(t, postgres);
  const waiting = Array.from({ length: MOST }, () => callAdmin(app, 'GET /sales'));
  const refused = await callAdmin(app, 'GET /sales');
  assert.deepEqual([refused.status, refused.body.code], [503, 'overloaded']);
  assert.match(String(refused.headers['retry-after']), /^[1-5]$/);
  const confirmed = await callAdmin(app, `POST /reservations/${reservationId}/confirm`, {
    as: 'merchant',
  });
  assert.equal(confirmed.status, 200);
  assert.equal((await callAdmin(app, 'GET //healthz')).status, 200);

  postgres.resume();
  for (const { status } of await Promise.all(waiting)) assert.equal(status, 200);
  assert.equal((await callAdmin(app, 'GET /sales')).status, 200, 'the limit is free again');
});
