/** A change that was recorded in PostgreSQL and not yet applied in Redis is applied later, once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AdminReply,
  makeDraft,
  newSale,
  stateInRedis,
  useAdmin,
} from '../../harness/engine/admin.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { FILE } from '../../harness/use.ts';
import { createAdminMetrics } from '../../src/admin/metrics.ts';
import { repairRound, startPendingRepairer } from '../../src/admin/sales/pending-repairer.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { lockOperations } from '../../src/postgres/sale-locks.ts';
import { createMetrics } from '../../src/process/metrics.ts';

const admin = await useAdmin(FILE);

async function makeSale(): Promise<string> {
  const body = newSale({ skus: [{ sku: 'unit', price: 1_000, stock: 10 }] });
  return (await admin.call('POST /sales', { body })).body.saleId;
}

async function loaded(saleId: string): Promise<number | undefined> {
  const reply = await admin.shards.call(readSale, saleId);
  return 'state' in reply ? reply.state.stock[0]?.loaded : undefined;
}

/** Leaves a sale operation as a process does that dies between recording and applying it. */
async function recordOnly(saleId: string, delta: number): Promise<number> {
  return admin.sql.begin(async (tx) => {
    const [row] = await tx<{ operation: number }[]>`
      UPDATE sales SET last_operation = last_operation + 1 WHERE sale_id = ${saleId}
      RETURNING last_operation AS operation`;
    const { operation } = row!;
    await tx`
      INSERT INTO sale_operations (sale_id, operation, action, definition, changes, actor, request_id)
      SELECT sale_id, ${operation}, 'load', definition, ${tx.json([{ sku: 'unit', delta }])}, 'test', 'test'
      FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation - 1}`;
    await tx`
      INSERT INTO stock_ledger (sale_id, operation, sku, delta) VALUES (${saleId}, ${operation}, 'unit', ${delta})`;
    return operation;
  });
}

async function outcomes(saleId: string): Promise<string[]> {
  const rows = await admin.sql<{ outcome: string }[]>`
    SELECT o.outcome || '/' || coalesce(l.outcome, '-') AS outcome FROM sale_operations o
    LEFT JOIN stock_ledger l USING (sale_id, operation)
    WHERE sale_id = ${saleId} ORDER BY operation`;
  return rows.map(({ outcome }) => outcome);
}

async function eventuallyReady(): Promise<void> {
  await eventually(() => assert.ok(admin.shards.isReady));
}

test('an operation recorded by a process that died is applied once by the repairer', async () => {
  const saleId = await makeSale();
  await recordOnly(saleId, 5);
  assert.equal((await admin.call(`GET /sales/${saleId}`)).body.pendingOperations, 1);
  await Promise.all([repairRound(admin), repairRound(admin), repairRound(admin)]);
  await repairRound(admin);
  assert.equal(await loaded(saleId), 15);
  assert.deepEqual(await outcomes(saleId), ['applied/applied', 'applied/applied']);
});

test('an operation that Redis has applied and PostgreSQL has as pending is not applied again', async () => {
  const saleId = await makeSale();
  const operation = await recordOnly(saleId, 5);
  const [row] = await admin.sql<{ definition: never; timeline: number }[]>`
    SELECT definition, timeline FROM sale_operations JOIN sales USING (sale_id)
    WHERE sale_id = ${saleId} AND operation = 1`;
  const changes = [{ sku: 'unit', delta: 5 }];
  const reply = await admin.shards.call(applyOperation, saleId, {
    operation,
    timeline: row!.timeline,
    definition: row!.definition,
    changes,
  });
  assert.equal(reply.outcome, 'applied');
  await repairRound(admin);
  assert.equal(await loaded(saleId), 15);
  assert.deepEqual(await outcomes(saleId), ['applied/applied', 'applied/applied']);
});

test('the next request for the sale applies pending operations in order', async () => {
  const saleId = await makeSale();
  await recordOnly(saleId, -4);
  await recordOnly(saleId, -7);
  await recordOnly(saleId, 3);
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  assert.equal(await loaded(saleId), 9);
  assert.deepEqual(await outcomes(saleId), [
    'applied/applied',
    'applied/applied',
    'insufficient_stock/insufficient_stock',
    'applied/applied',
    'applied/-',
  ]);
});

test('the repairer runs periodically and can be closed', async () => {
  const saleId = await makeSale();
  await recordOnly(saleId, 1);
  const metrics = createAdminMetrics(createMetrics('admin'));
  const repairer = startPendingRepairer({ ...admin, metrics }, 20);
  await eventually(async () => assert.equal(await loaded(saleId), 11));
  await repairer.close();
});

test('a load while Redis is unavailable is recorded, gets 503, and is applied once afterwards', async () => {
  const saleId = await makeSale();
  await admin.redis.kill();
  await eventually(() => assert.ok(!admin.shards.isReady));
  const request = { body: { sku: 'unit', delta: 5 }, headers: { 'idempotency-key': 'l-1' } };
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const response = await admin.call(`POST /sales/${saleId}/stock`, request);
    assert.equal(response.status, 503);
    assert.equal(response.body.code, 'unavailable');
    assert.match(String(response.headers['retry-after']), /^[1-5]$/);
    assert.equal(response.body.operation, 2);
  }
  const shown = await admin.call(`GET /sales/${saleId}`);
  assert.equal(shown.status, 200);
  assert.deepEqual(
    [shown.body.redis, shown.body.skus[0].loaded, shown.body.persister.lag],
    ['away', null, null],
  );
  assert.equal(shown.body.pendingOperations, 1);
  const ready = await admin.call('GET //readyz', { as: null });
  assert.deepEqual([ready.status, ready.body.missing], [503, ['redis']]);
  assert.equal((await admin.call('GET //healthz', { as: null })).status, 200);
  assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 503);

  await admin.redis.start();
  await eventuallyReady();
  const recovering = await admin.call(`POST /sales/${saleId}/stock`, request);
  assert.deepEqual([recovering.status, recovering.body.code], [503, 'recovering']);
  const fence = admin.shards.of(saleId).runId!;
  await admin.shards.of(saleId).client.hset(`fs:{${saleId}}:sale`, 'fence', fence);

  await repairRound(admin);
  assert.equal(await loaded(saleId), 15);
  const replayed = await admin.call(`POST /sales/${saleId}/stock`, request);
  assert.equal(replayed.status, 200);
  assert.equal(replayed.headers['idempotent-replayed'], 'true');
  assert.deepEqual([replayed.body.loaded, replayed.body.remaining], [15, 15]);
  assert.equal(await loaded(saleId), 15);
});

test('a request to an unresponsive Redis has an unknown outcome, and a retry with the same key finds it', async () => {
  const saleId = await makeSale();
  admin.redis.pause();
  const request = { body: { sku: 'unit', delta: 5 }, headers: { 'idempotency-key': 'h-1' } };
  const response = await admin.call(`POST /sales/${saleId}/stock`, request);
  assert.deepEqual([response.status, response.body.code], [503, 'unavailable']);
  admin.redis.resume();
  await eventuallyReady();
  await eventually(async () => {
    assert.equal((await admin.call(`POST /sales/${saleId}/stock`, request)).status, 200);
  });
  assert.equal(await loaded(saleId), 15);
});

test('a start that is postponed too late is kept, and audited as kept', async () => {
  const startsAt = Date.now() + 6_000;
  const saleId = await makeDraft(admin, { startsAt: new Date(startsAt).toISOString() });
  await admin.call(`POST /sales/${saleId}/open`);
  const later = new Date(startsAt + 3_600_000).toISOString();
  // The lock delays the change until the old start has passed and buyers may have bought.
  const responses: Promise<AdminReply>[] = [];
  await admin.sql.begin(async (tx) => {
    await lockOperations(tx, saleId);
    responses.push(admin.call(`PATCH /sales/${saleId}`, { body: { startsAt: later } }));
    await eventually(async () => assert.equal((await outcomes(saleId)).at(-1), 'pending/-'));
    responses.push(admin.call(`PATCH /sales/${saleId}`, { body: { name: 'Recorded after it' } }));
    await eventually(async () => assert.equal((await outcomes(saleId)).length, 4));
    await sleep(startsAt - Date.now() + 1_100);
  });
  for (const response of await Promise.all(responses)) {
    assert.equal(response.status, 200);
    assert.equal(Date.parse(response.body.startsAt), startsAt);
  }
  const definitions = await admin.sql<{ startsAt: number }[]>`
    SELECT (definition ->> 'startsAt')::bigint AS starts_at FROM sale_operations WHERE sale_id = ${saleId}`;
  assert.deepEqual(
    definitions.map((each) => each.startsAt),
    [startsAt, startsAt, startsAt, startsAt],
  );
  assert.equal((await stateInRedis(admin, saleId)).definition.startsAt, startsAt);
  const { body } = await admin.call(`GET /sales/${saleId}/audit`);
  const kept = body.data.filter(({ action }: { action: string }) => action === 'start_kept');
  assert.deepEqual(
    kept.map(({ details }: { details: object }) => details),
    [
      { operation: 4, startsAt },
      { operation: 3, startsAt },
    ],
  );
});

test('an open sale that Redis has lost is left to the recovery', async () => {
  const saleId = await makeSale();
  await admin.call(`POST /sales/${saleId}/open`);
  await buy(admin.shards, saleId, ['a']);
  await admin.shards.of(saleId).client.flushall();
  const response = await admin.call(`POST /sales/${saleId}/pause`);
  assert.deepEqual([response.status, response.body.code], [503, 'recovering']);
  assert.equal(await loaded(saleId), undefined);
});

test('a sale created while Redis is unavailable returns its id, and is created once afterwards', async () => {
  await admin.redis.kill();
  await eventually(() => assert.ok(!admin.shards.isReady));
  const request = { body: newSale({ name: 'Later' }), headers: { 'idempotency-key': 'later' } };
  const first = await admin.call('POST /sales', request);
  assert.deepEqual([first.status, first.body.code], [503, 'unavailable']);
  assert.match(first.body.saleId, /^later-/);
  await admin.redis.start();
  await eventuallyReady();
  const again = await admin.call('POST /sales', request);
  assert.deepEqual([again.status, again.body.saleId], [200, first.body.saleId]);
  assert.equal(again.body.skus[0].loaded, 100);
});
