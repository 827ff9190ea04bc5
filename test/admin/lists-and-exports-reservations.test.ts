/** Reservations and dead letters are listed completely, in pages and as CSV. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect as connectSocket } from 'node:net';
import { test } from 'node:test';
import { TOKENS, useAdmin, useApp } from '../../harness/engine/admin.ts';
import { eventually } from '../../harness/eventually.ts';
import { FILE } from '../../harness/use.ts';
import { csvCell } from '../../src/admin/reservations/reservations-csv.ts';
import { writeDetail } from '../../src/domain/transition-detail.ts';

const ROWS = 2_500;
const FIRST_MS = Date.UTC(2030, 0, 1);

const admin = await useAdmin(FILE);
// Two sales in turns, batches of ten with the same time, every buyer in both.
await admin.sql`
  INSERT INTO reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
    idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent)
  SELECT sale || '_' || p || '_aaaaaaaa', sale, 'buyer-' || p,
    CASE WHEN p % 5 = 0 THEN 'confirmed' ELSE 'reserved' END,
    jsonb_build_array(jsonb_build_object('sku', CASE WHEN p % 2 = 0 THEN 'even' ELSE 'odd' END,
      'quantity', 1, 'unitPrice', 1000)),
    1000, 'EUR', p, 1, CASE WHEN p % 50 = 0 THEN 'waitlist 000000000001' ELSE '' END, t, t + interval '5 minutes', t, 'request-' || p, ''
  FROM generate_series(1, ${ROWS / 2}) p, unnest(ARRAY['first', 'second']) sale,
    LATERAL (SELECT to_timestamp((${FIRST_MS}::bigint + p / 10)::float8 / 1000) AS t) time`;
await admin.sql`
  INSERT INTO reservation_events
  SELECT reservation_id, 1, sale_id, position, 'reserved', reserved_at, '', request_id, ''
  FROM reservations`;
await admin.sql`UPDATE reservations SET version = 2 WHERE reservation_id = 'first_5_aaaaaaaa'`;
await admin.sql`
  INSERT INTO reservation_events
  VALUES ('first_5_aaaaaaaa', 2, 'first', 100000, 'confirmed', now(), 'paid: p-1', 'r', '')`;

interface Shown {
  reservationId: string;
  saleId: string;
  position: number;
  source: string;
  reservedAt: string;
}

async function everyPage(query: string, limit: number): Promise<Shown[]> {
  const all: Shown[] = [];
  let cursor: string | null = null;
  do {
    const page = await admin.call(
      `GET /reservations?limit=${limit}${query}${cursor ? `&cursor=${cursor}` : ''}`,
    );
    assert.equal(page.status, 200, JSON.stringify(page.body));
    assert.ok(page.body.data.length <= limit);
    all.push(...page.body.data);
    cursor = page.body.nextCursor;
  } while (cursor);
  return all;
}

test('pages of all sales are newest first, without gaps or repetitions, for every page size', async () => {
  for (const limit of [7, 500]) {
    const all = await everyPage('', limit);
    assert.equal(all.length, ROWS);
    assert.equal(new Set(all.map(({ reservationId }) => reservationId)).size, ROWS);
    const keys = all.map(({ reservedAt, reservationId }) => `${reservedAt} ${reservationId}`);
    for (let index = 1; index < keys.length; index += 1) {
      assert.ok(all[index - 1]!.reservedAt >= all[index]!.reservedAt);
    }
  }
});

test('pages of a sale are in reverse order of position', async () => {
  const all = await everyPage('&saleId=first', 100);
  assert.deepEqual(
    all.map(({ position }) => position),
    Array.from({ length: ROWS / 2 }, (_, index) => ROWS / 2 - index),
  );
});

test('rows added between two pages neither repeat nor hide others', async () => {
  const first = await admin.call('GET /reservations?saleId=second&limit=10');
  await admin.sql`
    INSERT INTO reservations
    SELECT 'second_99999_aaaaaaaa', sale_id, 'late', status, items, total, currency, 99999, version, '',
      now(), now(), now(), '', '' FROM reservations WHERE reservation_id = 'second_1_aaaaaaaa'`;
  const next = await admin.call(
    `GET /reservations?saleId=second&limit=10&cursor=${first.body.nextCursor}`,
  );
  assert.equal(next.body.data[0].position, ROWS / 2 - 10);
  await admin.sql`DELETE FROM reservations WHERE reservation_id = 'second_99999_aaaaaaaa'`;
});

const FILTERS: Record<string, number> = {
  'saleId=first': ROWS / 2,
  'saleId=none': 0,
  'buyerId=buyer-3': 2,
  'buyerId=buyer-3&saleId=first': 1,
  'status=confirmed': ROWS / 5,
  'status=expired': 0,
  'sku=even': ROWS / 2,
  'sku=even&status=confirmed&saleId=second': ROWS / 20,
  'from=2030-01-01T00:00:00.100Z': 2 * (ROWS / 2 - 999),
  'to=2030-01-01T00:00:00.001Z': 18,
  'from=2030-01-01T00:00:00.001Z&to=2030-01-01T00:00:00.002%2B00:00': 20,
  'from=2030-01-01T01:00:00.001%2B01:00&to=2030-01-01T00:00:00.002Z&saleId=first': 10,
};
for (const [filter, count] of Object.entries(FILTERS)) {
  test(`${filter} finds ${count}, in pages and as CSV`, async () => {
    assert.equal((await everyPage(`&${filter}`, 500)).length, count);
    const csv = await admin.call(`GET /reservations.csv?${filter}`);
    assert.equal(csv.status, 200);
    assert.equal(String(csv.body).trimEnd().split('\r\n').length, count + 1);
  });
}

test('a hold past its deadline is shown as expired before its end is written', async () => {
  const id = 'second_3_aaaaaaaa';
  const shown = async (query: string) => {
    const page = await everyPage(`&buyerId=buyer-3&saleId=second${query}`, 10);
    const csv = await admin.call(`GET /reservations.csv?buyerId=buyer-3&saleId=second${query}`);
    const lines = String(csv.body).trimEnd().split('\r\n').slice(1);
    assert.equal(lines.length, page.length);
    return lines.map((line) => line.split(',')[3]);
  };
  await admin.sql`UPDATE reservations SET expires_at = now() WHERE reservation_id = ${id}`;
  assert.deepEqual(await shown(''), ['expired']);
  assert.deepEqual(await shown('&status=expired'), ['expired']);
  assert.deepEqual(await shown('&status=reserved'), []);
  assert.equal((await admin.call(`GET /reservations/${id}`)).body.status, 'expired');
  await admin.sql`
    UPDATE reservations SET expires_at = reserved_at + interval '5 minutes' WHERE reservation_id = ${id}`;
  assert.deepEqual(await shown('&status=expired'), []);
});

test('a reservation is shown with its history', async () => {
  const shown = await admin.call('GET /reservations/first_5_aaaaaaaa');
  assert.equal(shown.status, 200);
  assert.equal(shown.body.buyerId, 'buyer-5');
  assert.deepEqual(shown.body.items, [{ sku: 'odd', quantity: 1, unitPrice: 1_000 }]);
  assert.equal(shown.body.reservedAt, '2030-01-01T00:00:00.000Z');
  assert.deepEqual(
    shown.body.history.map((event: { version: number; status: string; detail: string }) => [
      event.version,
      event.status,
      event.detail,
    ]),
    [
      [1, 'reserved', ''],
      [2, 'confirmed', 'paid: p-1'],
    ],
  );
});

test('the CSV has a header, every row once, and a file name', async () => {
  const csv = await admin.call('GET /reservations.csv');
  assert.match(String(csv.headers['content-type']), /^text\/csv/);
  assert.match(
    String(csv.headers['content-disposition']),
    /attachment; filename="reservations.csv"/,
  );
  const [header, ...lines] = String(csv.body).trimEnd().split('\r\n');
  assert.match(header!, /^reservationId,saleId,buyerId,status,items,total,currency,position,/);
  assert.equal(new Set(lines.map((line) => line.split(',')[0])).size, ROWS);
});

test('lists, the CSV and plain SQL say what the waitlist sold', async () => {
  const isFromWaitlist = (position: number) => position % 50 === 0;
  for (const { position, source } of await everyPage('&saleId=first', 500)) {
    assert.equal(source, isFromWaitlist(position) ? 'waitlist' : 'purchase', String(position));
  }
  const { body } = await admin.call('GET /reservations/first_50_aaaaaaaa');
  assert.equal(body.source, 'waitlist');
  const csv = await admin.call('GET /reservations.csv?saleId=first');
  const [header, ...lines] = String(csv.body).trimEnd().split('\r\n');
  const column = header!.split(',').indexOf('source');
  const sources = lines.map((line) => line.split(',')[column]);
  assert.equal(sources.filter((source) => source === 'waitlist').length, ROWS / 100);
  assert.equal(sources.filter((source) => source === 'purchase').length, (ROWS / 100) * 49);
  const rows = await admin.sql<{ source: string; units: number; revenue: number }[]>`
    SELECT r.source, sum(items.quantity)::bigint AS units, sum(items.quantity * items."unitPrice")::bigint AS revenue
    FROM reservations r, jsonb_to_recordset(r.items) AS items(sku text, quantity bigint, "unitPrice" bigint)
    WHERE r.sale_id = 'second' AND r.status = 'confirmed' GROUP BY r.source ORDER BY r.source`;
  const purchased = (ROWS / 100) * 9;
  assert.deepEqual(
    [...rows],
    [
      { source: 'purchase', units: purchased, revenue: 1_000 * purchased },
      { source: 'waitlist', units: ROWS / 100, revenue: 10 * ROWS },
    ],
  );
});

test('a client that disconnects during a CSV leaves no open query', async () => {
  await admin.app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = admin.app.server.address() as AddressInfo;
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const leaving = new AbortController();
    const response = await fetch(`http://127.0.0.1:${port}/admin/v1/reservations.csv`, {
      headers: { authorization: `Bearer ${TOKENS.viewer}` },
      signal: leaving.signal,
    });
    const reader = response.body!.getReader();
    assert.match(new TextDecoder().decode((await reader.read()).value), /^reservationId/);
    leaving.abort();
  }
  const listed = await admin.call('GET /reservations?limit=1');
  assert.equal(listed.status, 200);
  await eventually(async () => {
    const [row] = await admin.sql<{ busy: number }[]>`
      SELECT count(*) AS busy FROM pg_stat_activity
      WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`;
    assert.equal(row?.busy, 0);
  });
});

test('closing does not wait for idle connections', { timeout: 10_000 }, async (t) => {
  const other = await useApp(t, admin);
  await other.listen({ port: 0, host: '127.0.0.1' });
  const silent = connectSocket((other.server.address() as AddressInfo).port, '127.0.0.1');
  await once(silent, 'connect');
  const startedMs = performance.now();
  await other.close();
  assert.ok(performance.now() - startedMs < 4_500);
  silent.destroy();
});

test('a value cannot start a formula or end its cell', () => {
  for (const start of ['=', '+', '-', '@', '\t', '\r']) {
    assert.match(csvCell(`${start}1+1`), /^"?'/);
  }
  assert.equal(csvCell('plain'), 'plain');
  assert.equal(csvCell('a"b,c'), '"a""b,c"');
  assert.equal(csvCell('=1,2'), `"'=1,2"`);
  assert.equal(csvCell(-5), '-5');
  assert.equal(csvCell('a-b=c@d'), 'a-b=c@d');
  // In locales with a decimal comma, spreadsheets split cells at semicolons, and at tabs when pasted.
  assert.equal(csvCell('x;=1+1'), `"x;'=1+1"`);
  assert.equal(csvCell('x;"=1+1'), `"x;""'=1+1"`);
  assert.equal(csvCell('x,@SUM(1)'), `"x,'@SUM(1)"`);
  assert.equal(csvCell('x\t-1'), `"x\t'-1"`);
  assert.equal(csvCell(';;=1'), `";;'=1"`);
});

test('a buyer id that is a formula is exported as text', async () => {
  await admin.sql`
    UPDATE reservations SET buyer_id = '=cmd|calc' WHERE reservation_id = 'first_1_aaaaaaaa'`;
  const csv = await admin.call('GET /reservations.csv?saleId=first&to=2030-01-01T00:00:00.001Z');
  assert.match(String(csv.body), /,"'=cmd\|calc",/);
});

test('the CSV has what bookkeeping needs: payment, unit prices and time of the confirmation', async () => {
  await admin.sql`
    INSERT INTO reservations
    SELECT 'books_1_aaaaaaaa', 'books', 'ada', 'cancelled',
      '[{"sku":"a","quantity":2,"unitPrice":1250},{"sku":"b","quantity":1,"unitPrice":1000000000000}]',
      1000000002500, 'EUR', 1, 4, '', reserved_at, expires_at, updated_at, 'r', ''
    FROM reservations WHERE reservation_id = 'first_1_aaaaaaaa'`;
  await admin.sql`
    INSERT INTO reservation_events
    SELECT 'books_1_aaaaaaaa', version, 'books', version, status, ${new Date(FIRST_MS)}::timestamptz + version * interval '1 s', detail, 'r', ''
    FROM (VALUES (1, 'reserved', ''), (2, 'confirmed', '{"actor":"merchant:1"}'),
      (3, 'confirmed', '{"actor":"merchant:1","transition":"attach","paymentRef":"=pay,1"}'),
      (4, 'cancelled', '{"actor":"merchant:1","transition":"cancel"}')) event(version, status, detail)`;
  const rowOf = async (query: string) => {
    const csv = await admin.call(`GET /reservations.csv?saleId=books${query}`);
    const [header, line] = String(csv.body).trimEnd().split('\r\n');
    assert.ok(
      header!.endsWith(
        ',unitPrices,paymentRef,confirmedAt,restocked,source,cancelledItems,withdrawnItems',
      ),
    );
    return line!.slice(line!.indexOf(',r,') + 3);
  };
  const time = '2030-01-01T00:00:02.000Z';
  assert.equal(await rowOf(''), `1250 1000000000000,"'=pay,1",${time},true,purchase,,`);
  assert.equal(await rowOf('&raw=false'), `1250 1000000000000,"'=pay,1",${time},true,purchase,,`);
  assert.equal(await rowOf('&raw=true'), `1250 1000000000000,"=pay,1",${time},true,purchase,,`);
  const csv = await admin.call('GET /reservations.csv?saleId=first&status=reserved');
  assert.match(
    String(csv.body),
    /,1000,,,,purchase,,\r\n/,
    'a reservation that was never confirmed has neither',
  );
  assert.equal((await admin.call('GET /reservations.csv?raw=yes')).status, 422);
  await admin.sql`DELETE FROM reservations WHERE sale_id = 'books'`;
});

test('a payment finds the reservations that were confirmed with it', async () => {
  const confirm = (reservationId: string, event: number, paymentRef: string) => admin.sql`
    INSERT INTO reservation_events
    VALUES (${reservationId}, 3, 'first', ${event}, 'confirmed', now(),
      ${writeDetail({ actor: 'merchant:0', transition: 'confirm', paymentRef })}, 'r', '')`;
  // Quotes and backslashes are escaped in the detail; a reason may contain what looks like a payment.
  const odd = 'pay "1"\\x, größer: "paymentRef":"pay-2"';
  await confirm('first_10_aaaaaaaa', 100_001, 'pay-1');
  await confirm('first_15_aaaaaaaa', 100_002, odd);
  await admin.sql`
    INSERT INTO reservation_events
    VALUES ('first_20_aaaaaaaa', 3, 'first', 100003, 'cancelled', now(),
      ${writeDetail({ actor: 'merchant:0', transition: 'cancel', reason: '"paymentRef":"pay-1"' })}, 'r', '')`;
  const found = async (paymentRef: string, more = '') => {
    const query = `paymentRef=${encodeURIComponent(paymentRef)}${more}`;
    const { body } = await admin.call(`GET /reservations?${query}`);
    return body.data.map(({ reservationId }: Shown) => reservationId);
  };
  assert.deepEqual(await found('pay-1'), ['first_10_aaaaaaaa']);
  assert.deepEqual(await found('pay-1', '&saleId=second'), []);
  assert.deepEqual(await found(odd), ['first_15_aaaaaaaa']);
  assert.deepEqual(await found('pay-2'), []);
  const csv = await admin.call('GET /reservations.csv?paymentRef=pay-1');
  assert.match(String(csv.body), /^reservationId.*\r\nfirst_10_aaaaaaaa,.*\r\n$/s);
});

test('listings read an index, not the table', async () => {
  await admin.sql`ANALYZE reservations`;
  const plan = async (query: string) => {
    const rows = await admin.sql.unsafe(`EXPLAIN ${query}`);
    return rows.map((row) => Object.values(row)[0]).join('\n');
  };
  assert.match(
    await plan(
      "SELECT * FROM reservations WHERE (reserved_at, reservation_id) < ('2030-01-01T00:00:00.050Z', 'x') ORDER BY reserved_at DESC, reservation_id DESC LIMIT 50",
    ),
    /Index Scan Backward using reservations_by_time/,
  );
  assert.match(
    await plan(
      "SELECT * FROM reservations WHERE sale_id = 'first' AND position < 500 ORDER BY position DESC LIMIT 50",
    ),
    /reservations_by_position/,
  );
  await admin.sql`ANALYZE reservation_events`;
  assert.match(
    await plan(
      `SELECT reservation_id FROM reservation_events WHERE detail LIKE '%"paymentRef":"%' AND payment_of(detail) = 'pay-1'`,
    ),
    /reservation_events_by_payment/,
  );
});

test('dead letters are listed until they are resolved, and retried on request', async () => {
  await admin.sql`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
    SELECT 'first', n || '-0', n, 'EUR', 'payload', 'reason' FROM generate_series(1, 5) n`;
  await admin.sql`UPDATE dead_letters SET resolved_at = now() WHERE event = 1`;
  const first = await admin.call('GET /dead-letters?limit=3');
  const rest = await admin.call(`GET /dead-letters?limit=3&cursor=${first.body.nextCursor}`);
  const events = [...first.body.data, ...rest.body.data].map(({ event }) => event);
  assert.deepEqual(events, [5, 4, 3, 2]);
  const resolved = await admin.call('GET /dead-letters?resolved=true');
  assert.deepEqual(
    resolved.body.data.map(({ event }: { event: number }) => event),
    [1],
  );
  const id = first.body.data[0].deadLetterId;
  assert.equal(first.body.data[0].retryRequestedAt, null);
  const requested = await admin.call(`POST /dead-letters/${id}/retry`);
  assert.equal(requested.status, 202);
  assert.ok(requested.body.retryRequestedAt);
  const refused = await admin.call(
    `POST /dead-letters/${resolved.body.data[0].deadLetterId}/retry`,
  );
  assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
  assert.equal(
    (await admin.call('GET /sales/first/audit')).body.data[0].action,
    'retry-dead-letter',
  );
});
