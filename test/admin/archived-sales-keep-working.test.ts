/**
 * An archived sale leaves Redis except for a marker. Buyers get 410; operators and merchants get what they got before.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { callAdmin, makeDraft, useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive, BUYERS, makeEndedSale } from '../../harness/sales/archives.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { FILE } from '../../harness/use.ts';
import { MERCHANT_TRANSITIONS } from '../../src/admin/reservations/transition-reservation.ts';
import { CATALOGUE } from '../../src/verify/catalogue.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);
const hotPath = await useHotPath(FILE, admin.redis.url);
const merchant = (path: string, body?: unknown) =>
  callAdmin(admin.app, path, { as: 'merchant', ...(body === undefined ? {} : { body }) });
const redis = admin.shards.of('any').client;

test('Redis keeps a marker of at most 300 bytes, and repeating gets the same response', async () => {
  const { saleId } = await makeEndedSale(admin);
  const first = await admin.call(`POST /sales/${saleId}/archive`);
  assert.equal(first.status, 200, JSON.stringify(first.body));
  assert.deepEqual((await admin.call(`POST /sales/${saleId}/archive`)).body, first.body);
  const keys = await redis.keys(`fs:{${saleId}}:*`);
  assert.deepEqual(keys, [`fs:{${saleId}}:sale`]);
  assert.ok(Number(await redis.memory('USAGE', keys[0]!)) <= 300);
});

test('buyers get 410 sale_ended everywhere', async () => {
  const { saleId, ids } = await makeEndedSale(admin);
  // Known to this process as an open sale before.
  assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 200);
  await archive(admin, saleId);
  await eventually(async () =>
    assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 410),
  );
  const requests: [string, string][] = [
    ['GET', `/v1/sales/${saleId}`],
    ['GET', `/v1/sales/${saleId}/me`],
    ['POST', `/v1/sales/${saleId}/buy`],
    ['POST', `/v1/sales/${saleId}/waitlist`],
    ['DELETE', `/v1/sales/${saleId}/waitlist`],
    ['GET', `/v1/reservations/${ids.ada}`],
    ['POST', `/v1/reservations/${ids.ada}/cancel`],
  ];
  for (const [method, path] of requests) {
    const response = await hotPath.call(path, { method, buyer: 'ada' });
    assert.equal(response.status, 410, `${method} ${path}`);
    assert.equal(response.body.code, 'sale_ended');
  }
  assert.equal(await statusOfUpgrade(`${hotPath.url}/v1/sales/${saleId}/live`), 410);
});

async function statusOfUpgrade(url: string): Promise<number | undefined> {
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': randomBytes(16).toString('base64'),
  };
  const sent = get(url, { headers });
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  sent.destroy();
  return response.statusCode;
}

test('it is refused with the reason while it is impossible', async () => {
  const saleId = await makeDraft(admin, { skus: [{ sku: 'unit', price: 1, stock: 5 }] });
  const refusal = async () => {
    const { status, body } = await admin.call(`POST /sales/${saleId}/archive`);
    assert.deepEqual([status, body.code], [409, 'invalid_transition']);
    return body.reason;
  };
  assert.equal(await refusal(), 'not_ended');
  await admin.call(`POST /sales/${saleId}/open`);
  assert.equal(await refusal(), 'not_ended');
  const [reservation] = await hold(admin.shards, saleId, ['ada']);
  await admin.call(`POST /sales/${saleId}/end`);
  assert.equal(await refusal(), 'holds_not_settled');
  await merchant(`POST /reservations/${reservation!.reservationId}/confirm`);
  await admin.sql`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
    VALUES (${saleId}, '1-1', 99, 'EUR', '', 'test')`;
  assert.equal(await refusal(), 'dead_letters_unresolved');
  await admin.sql`DELETE FROM dead_letters WHERE sale_id = ${saleId}`;
  await admin.sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, actor, request_id)
    VALUES (${saleId}, 99, 'patch', '{}', 'test', 'test')`;
  assert.equal(await refusal(), 'operations_pending');
  await admin.sql`DELETE FROM sale_operations WHERE sale_id = ${saleId} AND operation = 99`;
  await eventually(async () => archive(admin, saleId));
  assert.equal((await admin.call('POST /sales/unknown/archive')).status, 404);
});

test('a merchant gets the same responses as before the archive', async () => {
  const [live, archived] = await Promise.all([makeEndedSale(admin), makeEndedSale(admin)]);
  await archive(admin, archived.saleId);
  const responsesIn = async ({ saleId, ids }: typeof live) => {
    const responses = [];
    for (const buyerId of Object.values(BUYERS)) {
      for (const name of [...MERCHANT_TRANSITIONS, ...MERCHANT_TRANSITIONS]) {
        const { status, headers, body } = await merchant(
          `POST /reservations/${ids[buyerId]}/${name}`,
        );
        const { position, total, items, from, to, code } = body;
        const replayed = headers['idempotent-replayed'];
        responses.push({ buyerId, name, status, replayed, position, total, items, from, to, code });
        assert.equal(body.saleId ?? saleId, saleId);
      }
    }
    return responses;
  };
  const expected = await responsesIn(live);
  assert.deepEqual(await responsesIn(archived), expected);
  // ada's refund is the one that changed something.
  assert.ok(expected.some((each) => each.name === 'cancel' && each.status === 200));
  const historyIn = async ({ saleId, ids }: typeof live) => {
    await eventually(async () => {
      const { body } = await admin.call(`GET /reservations/${ids.ada}`);
      assert.deepEqual([body.saleId, body.status, body.version], [saleId, 'cancelled', 3]);
    });
    const { body } = await admin.call(`GET /reservations/${ids.ada}`);
    return body.history.map((event: Record<string, unknown>) => {
      const { version, status, paymentRef, reason, detail } = event;
      return { version, status, paymentRef, reason, detail };
    });
  };
  assert.deepEqual(await historyIn(archived), await historyIn(live));
  const unknown = `${archived.saleId}_1_aaaaaaaa`;
  assert.equal((await merchant(`POST /reservations/${unknown}/cancel`)).status, 404);
  const counts = async (saleId: string) => {
    const { body } = await admin.call(`GET /sales/${saleId}`);
    const [{ loaded, remaining, held, confirmed }] = body.skus;
    return { status: body.status, loaded, remaining, held, confirmed };
  };
  const afterRefund = { status: 'ended', loaded: 10, remaining: 10, held: 0, confirmed: 0 };
  assert.deepEqual(await counts(archived.saleId), afterRefund);
  await eventually(async () => assert.deepEqual(await counts(live.saleId), afterRefund));
  assert.equal((await admin.call(`GET /sales/${archived.saleId}/verify`)).body.ok, true);
});

test('a refund is audited and announced in the same transaction', async () => {
  const { saleId, ids } = await makeEndedSale(admin);
  await archive(admin, saleId);
  await admin.sql`
    INSERT INTO webhook_endpoints (webhook_id, url, secret, sale_id)
    VALUES (${`hook-${saleId}`}, 'http://127.0.0.1:9', 'secret', ${saleId})`;
  await merchant(`POST /reservations/${ids.ada}/cancel`, { reason: 'late refund' });
  await eventually(async () => {
    const deliveries = await admin.sql<{ messageId: string }[]>`
      SELECT message_id FROM webhook_deliveries WHERE sale_id = ${saleId}`;
    assert.deepEqual(
      deliveries.map(({ messageId }) => messageId),
      [`evt_${ids.ada}_3`],
    );
  });
  const { body } = await admin.call(`GET /sales/${saleId}/audit`);
  assert.deepEqual(
    body.data.slice(0, 2).map(({ action }: { action: string }) => action),
    ['cancel-archived', 'archive'],
  );
});

test('operators read it, and can change nothing', async () => {
  const { saleId } = await makeEndedSale(admin);
  await archive(admin, saleId);
  const { body } = await admin.call(`GET /sales/${saleId}`);
  assert.deepEqual([body.status, body.redis, body.persister.lag], ['ended', 'archived', 0]);
  assert.ok(body.archivedAt);
  const listed = async (query: string) =>
    (await admin.call(`GET /sales?limit=100${query}`)).body.data.map(
      (sale: { saleId: string }) => sale.saleId,
    );
  assert.ok((await listed('')).includes(saleId));
  assert.ok((await listed('&archived=true')).includes(saleId));
  assert.ok(!(await listed('&archived=false')).includes(saleId));
  const csv = await admin.call(`GET /reservations.csv?saleId=${saleId}`);
  assert.equal(csv.body.trim().split('\r\n').length, 5);
  for (const [path, options] of [
    [`PATCH /sales/${saleId}`, { body: { name: 'Another' } }],
    [`POST /sales/${saleId}/stock`, { body: { sku: 'unit', delta: 1 } }],
    [`POST /sales/${saleId}/open`, {}],
    [`POST /sales/${saleId}/recover`, {}],
    [`DELETE /sales/${saleId}`, {}],
  ] as const) {
    assert.equal((await admin.call(path, options)).status, 409, path);
  }
  assert.equal((await admin.call(`POST /sales/${saleId}/end`)).status, 200);
  // A process of the previous version cannot change it either, nor open it in Redis again.
  await assert.rejects(
    admin.sql`UPDATE sales SET timeline = timeline + 1 WHERE sale_id = ${saleId}`,
    /is archived/,
  );
});

const CORRUPTIONS = [
  'UPDATE reservations SET total = total + 1',
  'UPDATE reservations SET buyer_id = buyer_id || 1',
  `UPDATE reservations SET items = '[{"sku":"unit","quantity":1,"unitPrice":1}]'`,
  "UPDATE reservations SET idempotency_key = 'other'",
  "UPDATE reservations SET currency = 'USD'",
  "UPDATE reservations SET status = 'confirmed'",
  "UPDATE reservations SET expires_at = expires_at + interval '1 s'",
  'UPDATE reservations SET position = position + 100',
  'UPDATE reservations SET first_event = first_event + 1',
  "UPDATE reservation_events SET detail = 'other'",
  "UPDATE sale_skus SET name = 'Other'",
  'UPDATE sale_skus SET archived_confirmed = archived_confirmed + 1',
  'UPDATE stock_ledger SET delta = delta + 1',
  'UPDATE checkpoints SET event = event + 1',
  'DELETE FROM reservations',
  'DELETE FROM reservation_events',
  'DELETE FROM stock_ledger',
];

const TABLES = ['reservations', 'reservation_events', 'sale_skus', 'stock_ledger', 'checkpoints'];

/** Saves the rows of a sale, and returns what restores them. */
async function saveRows(saleId: string): Promise<() => Promise<void>> {
  const saved = await Promise.all(
    TABLES.map((table) =>
      admin.sql.unsafe(
        `SELECT row_to_json(t)::text AS row FROM ${table} t WHERE sale_id = '${saleId}'`,
      ),
    ),
  );
  return async () => {
    for (const [index, table] of TABLES.entries()) {
      await admin.sql.unsafe(`DELETE FROM ${table} WHERE sale_id = '${saleId}'`);
      for (const { row } of saved[index]!) {
        await admin.sql.unsafe(
          `INSERT INTO ${table} SELECT * FROM json_populate_record(NULL::${table}, $1::text::json)`,
          [row],
        );
      }
    }
  };
}

test('verify passes on an archived sale, and fails once any of its rows is changed', async () => {
  const { saleId } = await makeEndedSale(admin);
  await archive(admin, saleId);
  const verified = async () => (await admin.call(`GET /sales/${saleId}/verify`)).body;
  const report = await verified();
  assert.equal(report.ok, true, JSON.stringify(report));
  assert.deepEqual(
    report.checks.map(({ name }: { name: string }) => name).sort(),
    Object.entries(CATALOGUE)
      .filter(([, { of }]) => of === 'archived' || of === 'both')
      .map(([name]) => name)
      .sort(),
  );
  for (const corruption of CORRUPTIONS) {
    const restore = await saveRows(saleId);
    await admin.sql.unsafe(`${corruption} WHERE sale_id = '${saleId}'`);
    const { ok } = await verified();
    await restore();
    assert.equal(ok, false, corruption);
  }
  await admin.sql`UPDATE sales SET waitlist_hold_seconds = 1 WHERE sale_id = ${saleId}`;
  assert.equal((await verified()).ok, false);
  await admin.sql`UPDATE sales SET waitlist_hold_seconds = NULL WHERE sale_id = ${saleId}`;
  assert.equal((await verified()).ok, true);
});

test("a buyer's id is replaced in archived sales only, once, and everywhere", async () => {
  const [archived, live] = await Promise.all([makeEndedSale(admin), makeEndedSale(admin)]);
  const { saleId } = archived;
  await archive(admin, saleId);
  await admin.sql`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason, resolved_at, discarded_by, discard_reason)
    VALUES (${saleId}, '1-1', NULL, 'EUR', ${JSON.stringify(['d', '1\tR\tdan\t0'])}, 'of dan', now(), 'test', 'dan asked')`;
  await admin.sql`
    INSERT INTO webhook_deliveries (webhook_id, message_id, event_type, sale_id, payload)
    VALUES ('any', 'any', 'any', ${saleId}, '{"buyerId":"dan"}')`;
  const erased = await admin.call('POST /buyers/dan/erase');
  assert.equal(erased.status, 200, JSON.stringify(erased.body));
  assert.ok(erased.body.sales.includes(saleId));
  assert.ok(erased.body.leftOut.includes(live.saleId));
  assert.match(erased.body.pseudonym, /^erased-/);
  const tables = [
    'reservations',
    'reservation_events',
    'dead_letters',
    'webhook_deliveries',
    'audit_log',
  ];
  for (const table of tables) {
    const rows = await admin.sql.unsafe(
      `SELECT row_to_json(t)::text AS text FROM ${table} t WHERE sale_id = '${saleId}'`,
    );
    assert.ok(rows.length > 0, table);
    for (const { text } of rows) assert.doesNotMatch(text, /\bdan\b|\\tdan/, table);
  }
  const { body } = await admin.call(
    `GET /reservations?saleId=${saleId}&buyerId=${erased.body.pseudonym}`,
  );
  assert.equal(body.data[0].reservationId, archived.ids.dan);
  assert.equal((await admin.call(`GET /sales/${saleId}/verify`)).body.ok, true);
  assert.equal(
    (await admin.call(`GET /reservations?saleId=${live.saleId}&buyerId=dan`)).body.data.length,
    1,
  );
  const again = await admin.call('POST /buyers/dan/erase');
  assert.deepEqual(
    [again.body.pseudonym, again.body.sales, again.body.reservations],
    [null, [], 0],
  );
  assert.equal(
    (await callAdmin(admin.app, 'POST /buyers/dan/erase', { as: 'merchant' })).status,
    403,
  );
});

test('an archived sale says what its waitlist sold, also after the buyer was erased', async () => {
  const saleId = await makeDraft(admin, {
    skus: [{ sku: 'unit', price: 1_000, stock: 1 }],
  });
  await admin.call(`POST /sales/${saleId}/open`);
  const [first] = await hold(admin.shards, saleId, ['first']);
  // A buyer with this name must not lose the reservation's source.
  const buyer = 'waitlist';
  const joined = await hotPath.call(`/v1/sales/${saleId}/waitlist`, { method: 'POST', buyer });
  assert.equal(joined.status, 201);
  await merchant(`POST /reservations/${first!.reservationId}/cancel`);
  const { body: mine } = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer });
  const [{ reservationId, source }] = mine.reservations;
  assert.equal(source, 'waitlist');
  await merchant(`POST /reservations/${reservationId}/confirm`);
  await admin.call(`POST /sales/${saleId}/end`);
  await eventually(() => archive(admin, saleId));
  const refunded = await merchant(`POST /reservations/${reservationId}/cancel`);
  assert.deepEqual([refunded.body.status, refunded.body.source], ['cancelled', 'waitlist']);
  assert.equal((await admin.call(`POST /buyers/${buyer}/erase`)).body.reservations, 1);
  const { body: shown } = await admin.call(`GET /reservations/${reservationId}`);
  assert.equal(shown.source, 'waitlist');
  assert.equal((await admin.call(`GET /sales/${saleId}/verify`)).body.ok, true);
});

test('a draft that nobody opened is two small keys in Redis', async () => {
  const saleId = await makeDraft(admin);
  const keys = (await redis.keys(`fs:{${saleId}}:*`)).filter((key) => !key.endsWith(':events'));
  assert.deepEqual(keys.sort(), [`fs:{${saleId}}:sale`, `fs:{${saleId}}:stock`]);
  const bytes = await Promise.all(keys.map((key) => redis.memory('USAGE', key)));
  assert.ok(bytes.reduce((sum: number, each) => sum + Number(each), 0) <= 1_500, String(bytes));
});
