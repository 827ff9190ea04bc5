/** An operator requests a recovery, a persister does it, and the operator sees its report. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeDraft, newSale, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

const admin = await useAdmin(FILE);

const SKUS = [{ sku: 'unit', price: 1_000, stock: 10 }];

async function makeSale(): Promise<string> {
  const saleId = await makeDraft(admin, { skus: SKUS });
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  return saleId;
}

test('a sale that was edited by hand is rebuilt once for two requests', async (context) => {
  const saleId = await makeSale();
  await usePersister(context, admin.redis.url, admin.databaseUrl);
  await buyMany(admin.shards, saleId, { count: 5, batchSize: 5 });
  await admin.shards.of(saleId).client.hset(saleKey(saleId, 'stock'), 'unit:remaining', '3');
  const [one, two] = await Promise.all([
    admin.call(`POST /sales/${saleId}/recover`),
    admin.call(`POST /sales/${saleId}/recover`),
  ]);
  assert.deepEqual([one.status, two.status], [202, 202]);
  await eventually(async () => {
    const { body } = await admin.call(`GET /sales/${saleId}/recoveries`, { as: 'viewer' });
    const [newest] = body.data;
    assert.equal(newest.recoveryId, Math.max(one.body.recoveryId, two.body.recoveryId));
    assert.equal(newest.outcome, 'rebuilt');
    assert.equal(newest.report.cause, 'requested');
    assert.equal(newest.report.reservations, 5);
    assert.ok(newest.report.seconds >= 0);
  });
  const verified = await admin.call(`GET /sales/${saleId}/verify`);
  assert.deepEqual(
    verified.body.checks.filter(({ ok }: { ok: boolean }) => !ok),
    [],
  );
  const { body } = await admin.call(`GET /sales/${saleId}/audit`);
  const actions = body.data.map(({ action }: { action: string }) => action);
  assert.ok(actions.includes('recover') && actions.includes('request-recovery'), actions.join());
});

test('a load of a sale that Redis has lost can be retried until it succeeds', async (context) => {
  const saleId = await makeSale();
  await usePersister(context, admin.redis.url, admin.databaseUrl);
  await admin.shards.of(saleId).client.flushall();
  const request = {
    body: { sku: 'unit', delta: 4 },
    headers: { 'idempotency-key': 'after-a-flush' },
  };
  await eventually(async () => {
    const response = await admin.call(`POST /sales/${saleId}/stock`, request);
    assert.equal(response.status, 200);
    assert.equal(response.body.loaded, 14);
  });
});

test('a draft that is created again has its new stock, though a restored Redis has the deleted one', async (context) => {
  await makeDraft(admin, { saleId: 'again', skus: SKUS });
  const { client } = admin.shards.of('again');
  const keys = ['sale', 'stock'] as const;
  const backup = await Promise.all(keys.map((key) => client.dumpBuffer(saleKey('again', key))));
  assert.equal((await admin.call('DELETE /sales/again')).status, 204);
  for (const [index, key] of keys.entries()) {
    await client.restore(saleKey('again', key), 0, backup[index]!);
  }
  await admin.redis.restart();
  await eventually(() => assert.ok(admin.shards.isReady));
  await usePersister(context, admin.redis.url, admin.databaseUrl);
  const request = {
    body: newSale({ saleId: 'again', skus: [{ ...SKUS[0], stock: 77 }] }),
    headers: { 'idempotency-key': 'made-again' },
  };
  await eventually(async () => {
    const { status } = await admin.call('POST /sales', request);
    assert.ok(status === 200 || status === 201);
  });
  const { body: sale } = await admin.call('GET /sales/again');
  assert.equal(sale.skus[0].loaded, 77);
});

test('a recovery of an unknown sale gets 404', async () => {
  for (const request of ['POST /sales/nowhere/recover', 'GET /sales/nowhere/recoveries']) {
    const response = await admin.call(request);
    assert.deepEqual([response.status, response.body.code], [404, 'sale_not_found']);
  }
});
