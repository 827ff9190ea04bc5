/** A wrong price can be corrected while nobody can buy; reservations keep theirs, and later ones get the new one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeDraft, stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

const admin = await useAdmin(FILE);
const hotPath = await useHotPath(FILE, admin.redis.url);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

const HOUR_MS = 3_600_000;

function setPrice(saleId: string, price: number, name?: string) {
  return admin.call(`PATCH /sales/${saleId}`, {
    body: { skus: [{ sku: 'unit', price, ...(name ? { name } : {}) }] },
  });
}

async function makeOpen(overrides: Record<string, unknown> = {}): Promise<string> {
  const skus = [{ sku: 'unit', price: 1_000, stock: 1 }];
  const saleId = await makeDraft(admin, { skus, ...overrides });
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  return saleId;
}

const pricesOf = async (saleId: string, buyer: string) => {
  const { body } = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer });
  return (body.reservations as { items: { unitPrice: number }[]; total: number }[]).map(
    ({ items, total }) => [items[0]!.unitPrice, total],
  );
};

test("names and prices can change until a sale starts, by the sale's time", async () => {
  const startsAt = Date.now() + HOUR_MS;
  const saleId = await makeOpen({ startsAt: new Date(startsAt).toISOString() });
  const changed = await setPrice(saleId, 2_000, 'Right');
  assert.equal(changed.status, 200, JSON.stringify(changed.body));
  assert.deepEqual([changed.body.skus[0].name, changed.body.skus[0].price], ['Right', 2_000]);
  await eventually(async () => {
    const [sku] = (await hotPath.call(`/v1/sales/${saleId}`)).body.skus;
    assert.deepEqual([sku.name, sku.price], ['Right', 2_000]);
  });
  const { body: audit } = await admin.call(`GET /sales/${saleId}/audit`);
  assert.equal(audit.data[0].details.definition.skus[0].price, 2_000);
  await assertPromisesHold(admin, saleId);
  // A decision was made just before the start, and Redis' clock was set back since.
  const time = String(startsAt - 1_000);
  await admin.shards.of(saleId).client.hset(saleKey(saleId, 'sale'), 'time', time);
  const refused = await setPrice(saleId, 3_000);
  assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
  assert.deepEqual(refused.body.errors, [
    { field: 'skus.0.price', message: 'must not change any more' },
  ]);
  assert.match(refused.body.detail, /Pause the sale/);
  assert.equal((await setPrice(saleId, 2_000, 'Right')).status, 200, 'this changes nothing');
});

test('a price changes while a sale is paused; reservations keep theirs, the waitlist gets the new one', async () => {
  const saleId = await makeOpen();
  const bought = await hotPath.buy(saleId, 'first', { key: 'k' });
  assert.deepEqual([bought.status, bought.body.total], [201, 1_000]);
  const waitlist = { method: 'POST', buyer: 'second' };
  assert.equal((await hotPath.call(`/v1/sales/${saleId}/waitlist`, waitlist)).status, 201);

  const refused = await setPrice(saleId, 1_500);
  assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition'], 'it sells');
  const load = { body: { sku: 'unit', delta: 1 } };
  assert.equal((await admin.call(`POST /sales/${saleId}/pause`)).status, 200);
  assert.equal((await setPrice(saleId, 1_500)).status, 200);
  const added = await admin.call(`PATCH /sales/${saleId}`, {
    body: { skus: [{ sku: 'other', price: 1 }] },
  });
  assert.deepEqual([added.status, added.body.errors[0].field], [409, 'skus.0.sku']);
  assert.equal((await admin.call(`POST /sales/${saleId}/resume`)).status, 200);
  assert.equal((await setPrice(saleId, 1_600)).status, 409);

  assert.deepEqual((await hotPath.buy(saleId, 'first', { key: 'k' })).body, bought.body);
  assert.equal((await admin.call(`POST /sales/${saleId}/stock`, load)).status, 200);
  await eventually(async () =>
    assert.deepEqual(await pricesOf(saleId, 'second'), [[1_500, 1_500]]),
  );
  assert.equal((await admin.call(`POST /sales/${saleId}/stock`, load)).status, 200);
  assert.equal((await hotPath.buy(saleId, 'third')).body.total, 1_500);
  assert.deepEqual(await pricesOf(saleId, 'first'), [[1_000, 1_000]]);

  await untilRows(admin, saleId, 3);
  await assertPromisesHold(admin, saleId);
  await admin.shards.of(saleId).client.flushall();
  await untilOpen(admin, saleId);
  await eventually(async () => assert.deepEqual(await pricesOf(saleId, 'first'), [[1_000, 1_000]]));
  assert.equal((await stateInRedis(admin, saleId)).definition.skus[0]!.price, 1_500);
  await assertPromisesHold(admin, saleId);
  const { body: listed } = await admin.call(`GET /reservations?saleId=${saleId}`);
  const totals = listed.data.map(({ total }: { total: number }) => total).sort();
  assert.deepEqual(totals, [1_000, 1_500, 1_500]);
});
