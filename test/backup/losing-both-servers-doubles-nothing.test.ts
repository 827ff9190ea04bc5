/**
 * What is true of a sale after Redis has lost everything: alone, and together with PostgreSQL, which is then restored from
 * an older dump by the commands of docs/OPERATIONS.md. What no server had is lost, and reported; no position and no unit is
 * given twice.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { runEngineCommand } from '../../harness/engine/engine-command.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale, setStatus } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useConnections, useServers } from '../../harness/servers/connections.ts';
import { useEmptyDatabase } from '../../harness/servers/postgres.ts';
import { useDump } from '../../harness/servers/postgres-dump.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';

/** What a recovery leaves out after a loss: twice BACKLOG_MAX and a million. */
const SKIPPED = 5_000_000;

interface Bought {
  buyer: string;
  reservationId: string;
  position: number;
}

/** Each of these buyers gets a unit. */
async function buyAll(
  hotPath: TestHotPath,
  saleId: string,
  prefix: string,
  count: number,
): Promise<Bought[]> {
  const bought: Bought[] = [];
  for (let i = 1; i <= count; i++) {
    const buyer = `${prefix}-${i}`;
    const { status, body } = await hotPath.buy(saleId, buyer, { key: 'cart' });
    assert.equal(status, 201, JSON.stringify(body));
    bought.push({ buyer, reservationId: body.reservationId, position: body.position });
  }
  return bought;
}

/** Repeated requests get the reservations that these buyers know. */
async function assertKept(hotPath: TestHotPath, saleId: string, bought: readonly Bought[]) {
  for (const { buyer, reservationId, position } of bought) {
    const { status, body } = await hotPath.buy(saleId, buyer, { key: 'cart' });
    assert.deepEqual([status, body.reservationId, body.position], [200, reservationId, position]);
  }
}

/** The disk is lost with the memory: the server starts empty. */
async function loseEverything(redis: TestRedis): Promise<void> {
  await redis.kill();
  rmSync(join(redis.directory, 'appendonlydir'), { recursive: true });
  await redis.start();
}

async function untilDrained({ shards }: Connections, saleId: string): Promise<void> {
  await eventually(async () => {
    const { events, drained } = await saleState(shards, saleId);
    assert.equal(drained, events);
  });
}

/** What the newest recovery reported. A sale is open a moment before its recovery is committed. */
function reportOf({ sql }: Connections, saleId: string) {
  return eventually(async () => {
    const [row] = await sql<{ outcome: string; report: Record<string, unknown> }[]>`
      SELECT outcome, report FROM sale_recoveries WHERE sale_id = ${saleId} ORDER BY recovery_id DESC LIMIT 1`;
    assert.ok(row);
    return row;
  });
}

function assertUnique(bought: readonly Bought[]): void {
  assert.equal(new Set(bought.map(({ position }) => position)).size, bought.length);
  assert.equal(new Set(bought.map(({ reservationId }) => reservationId)).size, bought.length);
}

test('Redis alone loses its disk: PostgreSQL gives back what it has, and the rest is left out', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const { saleId } = await makeSale(servers, { stock: 13 });
  const hotPath = await useHotPath(t, redis.url);
  const persister = await usePersister(t, redis.url, database.url);
  const early = await buyAll(hotPath, saleId, 'early', 8);
  await untilDrained(servers, saleId);
  await persister.close();
  // Nobody writes these to PostgreSQL.
  const lost = await buyAll(hotPath, saleId, 'lost', 5);
  const waiting = await hotPath.call(`/v1/sales/${saleId}/waitlist`, {
    method: 'POST',
    buyer: 'waiting',
  });
  assert.equal(waiting.status, 201);

  await loseEverything(redis);
  await usePersister(t, redis.url, database.url);
  await untilOpen(servers, saleId);
  await eventually(() => assertKept(hotPath, saleId, early));
  const { outcome, report } = await reportOf(servers, saleId);
  assert.deepEqual(
    [outcome, report.cause, report.reservations, report.positionsSkipped, report.waiting],
    ['rebuilt', 'redis_forgot_the_sale', 8, SKIPPED, 0],
  );
  // A buyer of a lost reservation buys again, as anybody.
  const again = await buyAll(hotPath, saleId, 'lost', 5);
  assertUnique([...early, ...lost, ...again]);
  assert.ok(again.every(({ position }) => position > SKIPPED));
  assert.equal((await hotPath.buy(saleId, 'too-late')).body.code, 'sold_out');
  const { body: me } = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'waiting' });
  assert.deepEqual(me.waitlist, []);
  await untilRows(servers, saleId, 13);
  await assertPromisesHold(servers, saleId);
});

test('Redis is lost together with PostgreSQL, which is restored from an older dump', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const sale = await makeSale(servers, { stock: 30 });
  const { saleId } = sale;
  const firstHotPath = await useHotPath(t, redis.url);
  const firstPersister = await usePersister(t, redis.url, database.url);
  const early = await buyAll(firstHotPath, saleId, 'early', 8);
  await untilDrained(servers, saleId);
  const dump = await useDump(t, database.url);
  const late = await buyAll(firstHotPath, saleId, 'late', 12);
  const [paid] = early;
  const isPaid = await applyTransition(servers.shards, { saleId, ...paid! }, 'confirm');
  assert.equal(isPaid.outcome, 'changed');
  const younger = await makeSale(servers, { stock: 30 });
  await buyAll(firstHotPath, younger.saleId, 'late', 2);
  await setStatus(servers, sale, 'paused');
  await untilRows(servers, saleId, 20);
  await Promise.all([firstHotPath.close(), firstPersister.close()]);
  await servers.sql.end();
  await loseEverything(redis);

  // A dump in another database looks like a copy of the lost one: nothing happens before an operator says so.
  const other = await useEmptyDatabase(t);
  await dump.restoreElsewhere(other.url);
  const environment = { DATABASE_URL: other.url, REDIS_URL: redis.url };
  const refused = await useEngineProcess(t, 'persister', { ...environment, LOG_LEVEL: 'fatal' });
  await eventually(() => assert.equal(refused.child.exitCode, 1), { timeoutMs: 20_000 });
  assert.match(refused.output, /is a copy of the one that a Redis belongs to.*--adopt/);
  await runEngineCommand(['migrate', '--adopt'], environment);

  // Without hot paths, so that nobody buys before the sale is what it should be.
  const restored = await useConnections(t, redis.url, other.url);
  await usePersister(t, redis.url, other.url);
  await untilOpen(restored, saleId);
  const app = await useApp(t, restored);
  const { body: sales } = await callAdmin(app, 'GET /sales');
  assert.deepEqual(
    sales.data.map((each: { saleId: string; status: string }) => [each.saleId, each.status]),
    [[saleId, 'open']],
    'the pause is lost, and so is the younger sale',
  );
  const { body: recoveries } = await callAdmin(app, `GET /sales/${saleId}/recoveries`);
  const [{ outcome, report }] = recoveries.data;
  assert.deepEqual(
    [outcome, report.cause, report.reservations, report.positionsSkipped],
    ['rebuilt', 'redis_forgot_the_sale', 8, SKIPPED],
  );
  // It cannot know what neither server has.
  assert.equal((await callAdmin(app, `GET /sales/${saleId}/verify`)).body.ok, true);

  // The shop knows of 12 reservations that were acknowledged since. Their units are not sold again.
  assert.equal((await callAdmin(app, `POST /sales/${saleId}/pause`)).status, 200);
  const confirm = `POST /reservations/${paid!.reservationId}/confirm`;
  const payment = { body: { paymentRef: 'pay_0', reclaim: true } };
  assert.equal((await callAdmin(app, confirm, payment)).status, 200);
  const withdrawal = { body: { sku: 'unit', delta: -12, reason: 'sold before the loss' } };
  assert.equal((await callAdmin(app, `POST /sales/${saleId}/stock`, withdrawal)).status, 200);
  const hotPath = await useHotPath(t, redis.url);
  await eventually(async () => {
    assert.equal((await hotPath.buy(saleId, 'someone')).body.code, 'sale_paused');
  });
  assert.equal((await callAdmin(app, `POST /sales/${saleId}/resume`)).status, 200);

  await eventually(() => assertKept(hotPath, saleId, early));
  for (const { buyer, reservationId } of late) {
    const { status, body } = await hotPath.call(`/v1/reservations/${reservationId}`, { buyer });
    assert.deepEqual([status, body.code], [404, 'reservation_not_found']);
  }
  const unknownPath = `POST /reservations/${late[0]!.reservationId}/confirm`;
  const gone = await callAdmin(app, unknownPath, { body: { paymentRef: 'pay_1' } });
  assert.deepEqual([gone.status, gone.body.code], [404, 'reservation_not_found']);
  await eventually(async () => {
    const unknown = await hotPath.call(`/v1/sales/${younger.saleId}`);
    assert.deepEqual([unknown.status, unknown.body.code], [404, 'sale_not_found']);
  });

  const now = await buyAll(hotPath, saleId, 'now', 30 - 12 - 8);
  assert.equal((await hotPath.buy(saleId, 'too-late')).body.code, 'sold_out');
  assertUnique([...early, ...late, ...now]);
  assert.ok(now.every(({ position }) => position > 8 + SKIPPED));
  await untilRows(restored, saleId, 18);
  await assertPromisesHold(restored, saleId);
});
