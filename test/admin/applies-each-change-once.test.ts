/** Each change of a sale is applied once, however often and by however many admins it is requested. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  callAdmin,
  makeDraft,
  newSale,
  stateInRedis,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const replica = await useApp(FILE, admin);

test('a new sale is a draft in PostgreSQL, in the ledger and in Redis', async () => {
  const saleId = `phones-${Date.now()}`;
  const created = await admin.call('POST /sales', {
    body: newSale({
      saleId,
      startsAt: '2030-01-01T10:00:00+02:00',
      endsAt: '2030-01-02T00:00:00Z',
      perBuyerLimit: 2,
      skus: [
        { sku: 'black', name: 'Black', price: 19_900, stock: 100 },
        { sku: 'white', price: 0, stock: 0 },
      ],
    }),
  });
  assert.equal(created.status, 201);
  assert.equal(created.headers.location, `/admin/v1/sales/${saleId}`);
  const { createdAt, updatedAt, clock, ...sale } = created.body;
  assert.equal(clock.aheadMs, 0);
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(updatedAt, createdAt);
  const nothing = {
    perBuyerLimit: null,
    held: 0,
    confirmed: 0,
    waiting: 0,
    tooFewForWaitlist: 0,
  };
  assert.deepEqual(sale, {
    saleId,
    name: 'Phones',
    status: 'draft',
    currency: 'EUR',
    startsAt: '2030-01-01T08:00:00.000Z',
    endsAt: '2030-01-02T00:00:00.000Z',
    perBuyerLimit: 2,
    holdSeconds: 300,
    waitlistHoldSeconds: 300,
    skus: [
      { sku: 'black', name: 'Black', price: 19_900, loaded: 100, remaining: 100, ...nothing },
      { sku: 'white', name: 'white', price: 0, loaded: 0, remaining: 0, ...nothing },
    ],
    archivedAt: null,
    redis: 'known',
    persister: { lag: 0, events: 0, checkpoint: null },
    pendingOperations: 0,
  });
  const read = (await admin.call(`GET /sales/${saleId}`)).body;
  // Each reading measures the difference of the clocks again.
  assert.deepEqual({ ...read, clock }, created.body);
  assert.equal((await stateInRedis(admin, saleId)).definition.status, 'draft');
  const [refused] = await buy(admin.shards, saleId, ['early']);
  assert.equal(refused?.outcome, 'sale_not_started');
});

test('a sale without an id gets one made from its name', async () => {
  assert.match(
    await makeDraft(admin, { name: 'Été 2030: Ünique!' }),
    /^ete-2030-unique-[a-z0-9]{8}$/,
  );
  assert.match(await makeDraft(admin, { name: '閃購' }), /^sale-[a-z0-9]{8}$/);
  assert.match(await makeDraft(admin, { name: 'x'.repeat(200) }), /^x{30}-[a-z0-9]{8}$/);
});

test('a sale id is unique', async () => {
  const saleId = await makeDraft(admin);
  const again = await admin.call('POST /sales', { body: newSale({ saleId }) });
  assert.equal(again.status, 422);
  assert.equal(again.body.errors[0].field, 'saleId');
});

test('concurrent creations with the same idempotency key, at two admins, create one sale', async () => {
  const headers = { 'idempotency-key': 'make-it-once' };
  const body = newSale({ name: 'Once' });
  const responses = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      callAdmin(index % 2 ? replica : admin.app, 'POST /sales', { body, headers }),
    ),
  );
  assert.equal(new Set(responses.map((response) => response.body.saleId)).size, 1);
  assert.equal(responses.filter(({ status }) => status === 201).length, 1);
  for (const replay of responses.filter(({ status }) => status !== 201)) {
    assert.equal(replay.status, 200);
    assert.equal(replay.headers['idempotent-replayed'], 'true');
  }
  const other = await admin.call('POST /sales', { body: newSale({ name: 'Other' }), headers });
  assert.equal(other.status, 422);
  assert.equal(other.body.code, 'idempotency_key_reused');
});

test('fifty loads with the same idempotency key are one load with the same response', async () => {
  const saleId = await makeDraft(admin);
  const request = { body: { sku: 'black', delta: 7 }, headers: { 'idempotency-key': 'load-7' } };
  const responses = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      callAdmin(index % 2 ? replica : admin.app, `POST /sales/${saleId}/stock`, request),
    ),
  );
  for (const response of responses) {
    assert.equal(response.status, 200, JSON.stringify(response.body));
    assert.deepEqual(response.body, responses[0]!.body);
  }
  const replays = responses.filter(({ headers }) => headers['idempotent-replayed'] === 'true');
  assert.equal(replays.length, 49);
  assert.equal(responses[0]!.body.loaded, 107);
  assert.equal((await stateInRedis(admin, saleId)).stock[0]?.loaded, 107);
  const [ledger] = await admin.sql<{ rows: number; units: number }[]>`
    SELECT count(*) AS rows, sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND outcome = 'applied'`;
  assert.deepEqual({ ...ledger }, { rows: 2, units: 107 });
  const other = await admin.call(`POST /sales/${saleId}/stock`, {
    ...request,
    body: { sku: 'black', delta: 8 },
  });
  assert.equal(other.body.code, 'idempotency_key_reused');
});

test('a withdrawal of more than remains changes nothing, and its repetition gets the same response', async () => {
  const saleId = await makeDraft(admin, { skus: [{ sku: 'unit', price: 1_000, stock: 10 }] });
  await admin.call(`POST /sales/${saleId}/open`);
  await buy(admin.shards, saleId, ['a', 'b', 'c']);
  const request = { body: { sku: 'unit', delta: -8 }, headers: { 'idempotency-key': 'back-8' } };
  const refused = await admin.call(`POST /sales/${saleId}/stock`, request);
  assert.equal(refused.status, 409);
  assert.equal(refused.body.code, 'insufficient_stock');
  assert.equal(refused.body.remaining, 7);
  await buy(admin.shards, saleId, ['d']);
  assert.deepEqual((await admin.call(`POST /sales/${saleId}/stock`, request)).body, refused.body);
  const [stock] = (await stateInRedis(admin, saleId)).stock;
  assert.deepEqual([stock!.loaded, stock!.remaining, stock!.held], [10, 6, 4]);
  const withdrawn = await admin.call(`POST /sales/${saleId}/stock`, {
    body: { sku: 'unit', delta: -6, reason: 'back to the shop' },
  });
  assert.equal(withdrawn.status, 200);
  assert.deepEqual([withdrawn.body.loaded, withdrawn.body.remaining], [4, 0]);
  const [ledger] = await admin.sql<{ units: number }[]>`
    SELECT sum(delta)::bigint AS units FROM stock_ledger WHERE sale_id = ${saleId} AND outcome = 'applied'`;
  assert.equal(ledger?.units, 4);
});

test('stock has a maximum and needs a SKU of the sale', async () => {
  const saleId = await makeDraft(admin);
  const over = await admin.call(`POST /sales/${saleId}/stock`, {
    body: { sku: 'black', delta: 1_000_000_000 },
  });
  assert.deepEqual([over.status, over.body.errors[0].field], [422, 'delta']);
  const unknown = await admin.call(`POST /sales/${saleId}/stock`, {
    body: { sku: 'red', delta: 1 },
  });
  assert.deepEqual([unknown.status, unknown.body.errors[0].field], [422, 'sku']);
});

test('concurrent changes at two admins are all applied, numbered without gaps', async () => {
  const saleId = await makeDraft(admin);
  const responses = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      callAdmin(index % 2 ? replica : admin.app, `POST /sales/${saleId}/stock`, {
        body: { sku: 'black', delta: index % 4 === 0 ? -1 : 2 },
      }),
    ),
  );
  assert.ok(responses.every(({ status }) => status === 200));
  const state = await stateInRedis(admin, saleId);
  assert.equal(state.operation, 41);
  assert.equal(state.stock[0]?.loaded, 100 + 30 * 2 - 10);
  const [row] = await admin.sql<{ last: number; rows: number }[]>`
    SELECT max(operation)::bigint AS last, count(*) AS rows FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'applied'`;
  assert.deepEqual({ ...row }, { last: 41, rows: 41 });
});

test('a deleted draft leaves no keys in Redis, and its id can be used again', async () => {
  const saleId = await makeDraft(admin);
  await admin.call(`POST /sales/${saleId}/stock`, { body: { sku: 'black', delta: 5 } });
  assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 204);
  assert.equal((await admin.call(`GET /sales/${saleId}`)).status, 404);
  assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 404);
  assert.deepEqual(await admin.shards.of(saleId).client.keys(`*${saleId}*`), []);
  assert.equal((await admin.call(`GET /sales/${saleId}/audit`)).body.data[0].action, 'delete');
  await makeDraft(admin, { saleId });
  assert.equal((await stateInRedis(admin, saleId)).stock[0]?.loaded, 100);
  await admin.call(`POST /sales/${saleId}/open`);
  const refused = await admin.call(`DELETE /sales/${saleId}`);
  assert.equal(refused.status, 409);
  assert.deepEqual([refused.body.from, refused.body.to], ['open', 'deleted']);
});

test('every change is audited with its actor and its request id', async () => {
  const saleId = await makeDraft(admin);
  await admin.call(`POST /sales/${saleId}/stock`, {
    body: { sku: 'black', delta: 1, reason: 'x' },
  });
  await admin.call(`POST /sales/${saleId}/stock`, { body: { sku: 'black', delta: -500 } });
  await admin.call(`PATCH /sales/${saleId}`, { body: { name: 'New' } });
  await admin.call(`POST /sales/${saleId}/open`);
  const first = await admin.call(`GET /sales/${saleId}/audit?limit=4`);
  const rest = await admin.call(`GET /sales/${saleId}/audit?cursor=${first.body.nextCursor}`);
  const entries = [...first.body.data, ...rest.body.data];
  assert.deepEqual(
    entries.map(({ action }) => action),
    ['open', 'patch', 'insufficient_stock', 'withdraw', 'load', 'create'],
  );
  assert.equal(rest.body.nextCursor, null);
  for (const { actor, requestId, occurredAt } of entries) {
    assert.match(actor, /^operator:[0-9a-f]{8}$/);
    assert.ok(requestId);
    assert.ok(occurredAt);
  }
});

test('sales are listed newest first, in pages', async () => {
  const made = [await makeDraft(admin), await makeDraft(admin), await makeDraft(admin)];
  const listed: string[] = [];
  let cursor = '';
  do {
    const page = await admin.call(`GET /sales?limit=2${cursor && `&cursor=${cursor}`}`);
    assert.equal(page.status, 200);
    listed.push(...page.body.data.map((sale: { saleId: string }) => sale.saleId));
    cursor = page.body.nextCursor ?? '';
  } while (cursor);
  assert.deepEqual(listed.slice(0, 3), made.toReversed());
  assert.equal(new Set(listed).size, listed.length);
});
