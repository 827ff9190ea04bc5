/**
 * `verify` finds every kind of violation: each check fails when its promise is broken in one of the servers. Damage of
 * single values is in verify-compares-every-field.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { rowCount } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { makeWhole } from '../../harness/sales/whole-records.ts';
import { FILE } from '../../harness/use.ts';
import { type SaleKey, saleKey } from '../../src/lua/keys.ts';
import { type Report, verifySale } from '../../src/verify/verify.ts';
import { COLUMNS } from './verify-coverage/columns.ts';
import {
  ALSO_SHOWN,
  KEYS,
  LINE_FIELDS,
  RECORD_FIELDS,
  SALE_FIELDS,
  STOCK_FIELDS,
} from './verify-coverage/keys.ts';

const PATIENCE = { catchUpMs: 5_000, repeats: 1, pauseMs: 50 };
const BUYERS = 40;

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);
/** One sale for each corruption, made together, because the persister looks for new sales at an interval. */
let prepared: Promise<string[]> | undefined;

/** A sale of 100 units at rest, complete in both servers: buyers 1 to 40 have one unit each. */
async function saleAtRest(): Promise<string> {
  const { saleId } = await makeSale(admin, { stock: 100, perBuyerLimit: 1 });
  await buyMany(admin.shards, saleId, { count: BUYERS, batchSize: 7 });
  // All sales are made together, so the last one waits for the others.
  await eventually(async () => assert.equal(await rowCount(admin, saleId), BUYERS), {
    timeoutMs: 60_000,
  });
  return saleId;
}

function failing(report: Report): string[] {
  return report.checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

function assertHolds(report: Report): void {
  assert.deepEqual(
    report.checks.filter(({ ok }) => !ok),
    [],
  );
  assert.equal(report.ok, true);
}

type Corruption = (saleId: string) => Promise<unknown>;

const stock = (saleId: string, ...counts: [field: string, by: number][]) =>
  Promise.all(
    counts.map(([field, by]) =>
      admin.shards.of(saleId).client.hincrby(saleKey(saleId, 'stock'), `unit:${field}`, by),
    ),
  );
const client = (saleId: string) => admin.shards.of(saleId).client;

/** Changes a buyer's record in Redis. */
async function editRecord(saleId: string, buyer: string, edit: (record: string) => string) {
  const key = saleKey(saleId, 'buyers');
  const record = await makeWhole(client(saleId), saleId, buyer);
  await client(saleId).hset(key, buyer, edit(record));
}

/** A buyer on the waitlist of a paused sale, so that the sweep leaves it there. */
async function waits(saleId: string, byQuantity: number, smallest: number) {
  const key = (name: SaleKey) => saleKey(saleId, name);
  const member = 'unit\t000000000009\tada\t1';
  await client(saleId)
    .multi()
    .hset(key('sale'), 'status', 'paused')
    .hset(key('stock'), 'unit:waiting', 1, 'unit:smallestWaiting', smallest)
    .zadd(key('line'), 0, member)
    .zadd(key('lineByQuantity'), 0, `unit\t00${byQuantity}\t000000000009\tada`)
    .hset(key('waiting'), 'ada\tunit', member)
    .exec();
}

const CORRUPTIONS: [check: string, what: string, corrupt: Corruption][] = [
  ['redis-knows-the-sale', 'Redis loses the sale', (id) => client(id).del(saleKey(id, 'sale'))],
  [
    'persister-has-caught-up',
    'the checkpoint goes back',
    (id) => admin.sql`UPDATE checkpoints SET event = event - 1 WHERE sale_id = ${id}`,
  ],
  ['stock-adds-up', 'a unit appears', (id) => stock(id, ['remaining', 1])],
  ['stock-adds-up', 'a unit is lost', (id) => stock(id, ['held', -1])],
  [
    'nothing-is-negative',
    'a count is negative',
    (id) => stock(id, ['remaining', -61], ['held', 61]),
  ],
  [
    'stock-is-what-the-ledger-says',
    'the ledger is edited',
    (id) => admin.sql`UPDATE stock_ledger SET delta = delta - 1 WHERE sale_id = ${id}`,
  ],
  [
    'stock-is-what-the-ledger-says',
    'stock is loaded without an operation',
    (id) => stock(id, ['loaded', 5], ['remaining', 5]),
  ],
  [
    'every-operation-is-applied',
    'an operation stays pending',
    (id) => admin.sql`
      UPDATE sale_operations SET outcome = 'pending', created_at = now() - interval '1 minute'
      WHERE sale_id = ${id}`,
  ],
  [
    'every-operation-is-applied',
    'Redis loses an operation',
    (id) => client(id).hset(saleKey(id, 'sale'), 'operation', '0'),
  ],
  [
    'never-oversold',
    'a row has more units',
    (id) => admin.sql`
      UPDATE reservations SET items = '[{"sku": "unit", "quantity": 62, "unitPrice": 1000}]'
      WHERE sale_id = ${id} AND position = 3`,
  ],
  [
    'held-and-confirmed-are-rows',
    'a hold becomes a purchase in Redis alone',
    (id) => stock(id, ['held', -1], ['confirmed', 1]),
  ],
  [
    'every-decision-is-a-row',
    'a row is deleted',
    (id) => admin.sql`DELETE FROM reservations WHERE sale_id = ${id} AND position = 7`,
  ],
  [
    'nothing-undecided-is-a-row',
    'a row has no decision',
    (id) => admin.sql`
      UPDATE reservations SET position = 9999 WHERE sale_id = ${id} AND position = 40`,
  ],
  [
    'nothing-undecided-is-a-row',
    'an event has no decision',
    (id) => admin.sql`
      INSERT INTO reservation_events SELECT reservation_id, 2, sale_id, 9999, status, now(), '', '', ''
      FROM reservations WHERE sale_id = ${id} AND position = 1`,
  ],
  [
    'every-event-is-kept',
    'an event is deleted',
    (id) => admin.sql`
      UPDATE reservations SET first_event = NULL WHERE sale_id = ${id} AND first_event = 5`,
  ],
  [
    'every-event-is-kept',
    'two reservations have the same event',
    (id) => admin.sql`
      UPDATE reservations SET first_event = 4 WHERE sale_id = ${id} AND first_event = 5`,
  ],
  [
    'every-event-is-kept',
    'a first event is stored twice',
    async (id) => {
      await admin.sql`ALTER TABLE reservation_events DISABLE TRIGGER reservation_events_first_once`;
      await admin.sql`
        INSERT INTO reservation_events SELECT * FROM reservation_history WHERE sale_id = ${id} AND event = 5`;
      await admin.sql`ALTER TABLE reservation_events ENABLE TRIGGER reservation_events_first_once`;
    },
  ],
  [
    'every-history-is-complete',
    'a version has no event',
    (id) => admin.sql`UPDATE reservations SET version = 2 WHERE sale_id = ${id} AND position = 5`,
  ],
  [
    'every-history-is-complete',
    'the last event has another status',
    (id) => admin.sql`
      UPDATE reservations SET status = 'expired' WHERE sale_id = ${id} AND first_event = 5`,
  ],
  [
    'one-answer-to-each-request',
    'a buyer has two live reservations without a key',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'buyer-1' WHERE sale_id = ${id} AND position = 2`,
  ],
  [
    'one-answer-to-each-request',
    'a key has two reservations, one of them ended',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'buyer-1', idempotency_key = 'k',
        status = CASE position WHEN 1 THEN 'expired' ELSE status END
      WHERE sale_id = ${id} AND position < 3`,
  ],
  [
    'nobody-is-above-the-limit',
    "a buyer has more units of a SKU than the SKU's limit",
    (id) =>
      admin.sql.begin(async (tx) => {
        await tx`
          UPDATE sale_operations SET definition =
            jsonb_set(definition || '{"perBuyerLimit": 2}', '{skus,0,perBuyerLimit}', '1') WHERE sale_id = ${id}`;
        await tx`
          UPDATE reservations SET buyer_id = 'buyer-1', idempotency_key = 'k2'
          WHERE sale_id = ${id} AND position = 2`;
      }),
  ],
  [
    'nobody-is-above-the-limit',
    'a buyer has two units',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'buyer-1', idempotency_key = 'k2'
      WHERE sale_id = ${id} AND position = 2`,
  ],
  [
    'no-hold-outlives-its-deadline',
    'a hold is live after its deadline',
    (id) => admin.sql`
      UPDATE reservations SET expires_at = now() - interval '10 s'
      WHERE sale_id = ${id} AND position = 6`,
  ],
  ['the-line-is-counted-right', 'one too many is counted', (id) => stock(id, ['waiting', 1])],
  [
    'the-line-is-counted-right',
    'an entry of the waitlist is not counted',
    (id) => client(id).zadd(saleKey(id, 'line'), 0, 'unit\t000000000009\tada\t1'),
  ],
  [
    'the-line-is-counted-right',
    'an entry of the waitlist is for an unknown SKU',
    (id) => client(id).zadd(saleKey(id, 'line'), 0, 'other\t000000000009\tada\t1'),
  ],
  [
    'the-line-is-counted-right',
    'an entry by buyer is not in the waitlist',
    (id) => client(id).hset(saleKey(id, 'waiting'), 'ada\tunit', 'unit\t000000000009\tada\t1'),
  ],
  [
    'everybody-in-line-is-found',
    'an entry by buyer is not in the waitlist',
    (id) => client(id).hset(saleKey(id, 'waiting'), 'ada\tunit', 'unit\t000000000009\tada\t1'),
  ],
  [
    'everybody-in-line-is-found',
    "an entry by buyer is another buyer's entry",
    async (id) => {
      const member = 'unit\t000000000009\tada\t1';
      await stock(id, ['waiting', 1]);
      await client(id).zadd(saleKey(id, 'line'), 0, member);
      await client(id).hset(saleKey(id, 'waiting'), 'grace\tunit', member);
    },
  ],
  [
    'the-line-is-known-by-quantity',
    'an entry by quantity is not in the order',
    (id) => client(id).zadd(saleKey(id, 'lineByQuantity'), 0, 'unit\t001\t000000000009\tada'),
  ],
  [
    'the-line-is-known-by-quantity',
    'an entry by quantity is for an unknown SKU',
    (id) => client(id).zadd(saleKey(id, 'lineByQuantity'), 0, 'other\t001\t000000000009\tada'),
  ],
  ['the-line-is-known-by-quantity', 'the smallest quantity is wrong', (id) => waits(id, 1, 2)],
  ['everybody-in-line-is-found', 'an entry by quantity has another one', (id) => waits(id, 2, 2)],
  [
    'no-dead-letters',
    'an event was rejected',
    (id) => admin.sql`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES (${id}, '1-0', 9999, 'EUR', 'x', 'x')`,
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a deadline differs',
    (id) => admin.sql`
      UPDATE reservations SET expires_at = expires_at + interval '1 ms'
      WHERE sale_id = ${id} AND position = 9`,
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a record is there twice',
    (id) => editRecord(id, 'buyer-9', (record) => `${record}\n${record}`),
  ],
  [
    'positions-follow-the-events',
    'two decisions change places in the history',
    (id) => admin.sql`
      UPDATE reservations SET first_event = 7 - first_event WHERE sale_id = ${id} AND first_event IN (3, 4)`,
  ],
  [
    'prices-were-offered',
    'a price was never offered',
    (id) => admin.sql`
      UPDATE reservations SET items = '[{"sku": "unit", "quantity": 1, "unitPrice": 1}]', total = 1
      WHERE sale_id = ${id} AND position = 3`,
  ],
];

/** The checks that damage of single values is shown to fail. */
function checksInTables(): string[] {
  const entries = [
    ...Object.values(COLUMNS).flatMap((columns) => Object.values(columns)),
    ...[KEYS, SALE_FIELDS, STOCK_FIELDS].flatMap((fields) => Object.values(fields)),
    ...[...RECORD_FIELDS, ...LINE_FIELDS].map(([, entry]) => entry),
    ...ALSO_SHOWN,
  ];
  return entries.flatMap((entry) => {
    if (typeof entry === 'string') return [entry];
    return 'check' in entry ? [entry.check] : [];
  });
}

test('every check of verify is shown to fail', async () => {
  const report = await verifySale(admin, await saleAtRest(), PATIENCE);
  const shown = new Set([...CORRUPTIONS.map(([check]) => check), ...checksInTables()]);
  assert.deepEqual(
    report.checks.map(({ name }) => name).filter((name) => !shown.has(name)),
    [],
  );
});

for (const [index, [check, what, corrupt]] of CORRUPTIONS.entries()) {
  test(`${check} fails when ${what}`, async () => {
    prepared ??= Promise.all(CORRUPTIONS.map(saleAtRest));
    const saleId = (await prepared)[index]!;
    assertHolds(await verifySale(admin, saleId, PATIENCE));
    await corrupt(saleId);
    const report = await verifySale(admin, saleId, { ...PATIENCE, catchUpMs: 100 });
    assert.equal(report.ok, false);
    assert.ok(failing(report).includes(check), `failed: ${failing(report).join(', ')}`);
    const { expected, actual } = report.checks.find(({ name, ok }) => name === check && !ok)!;
    assert.ok(expected && actual);
  });
}
