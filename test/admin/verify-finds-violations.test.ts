import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import { runVerify } from '../../src/cli/verify.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../src/lua/buy/leave-waitlist.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { Shards } from '../../src/redis/shards.ts';
import { type Report, verifySale } from '../../src/verify/verify.ts';
import { WAITLIST_CHECKS } from '../../src/verify/waitlist-checks.ts';

const PATIENCE = { catchUpMs: 5_000, repeats: 1, pauseMs: 50 };
const BUYERS = 40;

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);
/** One for each corruption, made together: the persister looks for new sales only now and then. */
let prepared: Promise<string[]> | undefined;

/** A sale at rest, all of it in both servers: buyers 1 to 40 have one unit each of 100. */
async function saleAtRest(): Promise<string> {
  const { saleId } = await makeSale(admin, { stock: 100, perBuyerLimit: 1 });
  await buyMany(admin.shards, saleId, { count: BUYERS, batchSize: 7 });
  await eventually(async () => assert.equal(await rowCount(saleId), BUYERS));
  return saleId;
}

async function rowCount(saleId: string): Promise<number | undefined> {
  const [row] = await admin.sql<{ rows: number }[]>`
    SELECT count(*) AS rows FROM reservations WHERE sale_id = ${saleId}`;
  return row?.rows;
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

/** Replaces something in what Redis keeps for a buyer. */
async function editRecord(saleId: string, buyer: string, edit: (record: string) => string) {
  const key = saleKey(saleId, 'buyers');
  const record = await client(saleId).hget(key, buyer);
  assert.ok(record);
  await client(saleId).hset(key, buyer, edit(record));
}

const CORRUPTIONS: [check: string, what: string, corrupt: Corruption][] = [
  ['redis-knows-the-sale', 'Redis forgets it', (id) => client(id).del(saleKey(id, 'sale'))],
  [
    'persister-has-caught-up',
    'the checkpoint goes back',
    (id) => admin.sql`UPDATE checkpoints SET event = event - 1 WHERE sale_id = ${id}`,
  ],
  ['stock-adds-up', 'a unit appears', (id) => stock(id, ['remaining', 1])],
  ['stock-adds-up', 'a unit is lost', (id) => stock(id, ['held', -1])],
  [
    'nothing-is-negative',
    'a count falls below 0',
    (id) => stock(id, ['remaining', -61], ['held', 61]),
  ],
  [
    'stock-is-what-the-ledger-says',
    'the ledger is edited',
    (id) => admin.sql`UPDATE stock_ledger SET delta = delta - 1 WHERE sale_id = ${id}`,
  ],
  [
    'stock-is-what-the-ledger-says',
    'stock is loaded behind its back',
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
    'a row grows',
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
    'a row vanishes',
    (id) => admin.sql`DELETE FROM reservations WHERE sale_id = ${id} AND position = 7`,
  ],
  [
    'nothing-undecided-is-a-row',
    'a row appears that nobody decided',
    (id) => admin.sql`
      UPDATE reservations SET position = 9999 WHERE sale_id = ${id} AND position = 40`,
  ],
  [
    'nothing-undecided-is-a-row',
    'an event appears that never was',
    (id) => admin.sql`
      INSERT INTO reservation_events SELECT reservation_id, 2, sale_id, 9999, status, now(), '', '', ''
      FROM reservations WHERE sale_id = ${id} AND position = 1`,
  ],
  [
    'every-event-is-kept',
    'an event vanishes',
    (id) => admin.sql`DELETE FROM reservation_events WHERE sale_id = ${id} AND event = 5`,
  ],
  [
    'every-history-is-complete',
    'a version has no event',
    (id) => admin.sql`UPDATE reservations SET version = 2 WHERE sale_id = ${id} AND position = 5`,
  ],
  [
    'every-history-is-complete',
    'the last event says something else',
    (id) => admin.sql`
      UPDATE reservation_events SET status = 'expired' WHERE sale_id = ${id} AND event = 5`,
  ],
  [
    'one-answer-to-each-request',
    'a buyer lives twice without a key',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'buyer-1' WHERE sale_id = ${id} AND position = 2`,
  ],
  [
    'one-answer-to-each-request',
    'a key stands for two, one of them over',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'buyer-1', idempotency_key = 'k',
        status = CASE position WHEN 1 THEN 'expired' ELSE status END
      WHERE sale_id = ${id} AND position < 3`,
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
    'a hold is over and nobody ended it',
    (id) => admin.sql`
      UPDATE reservations SET expires_at = now() - interval '10 s'
      WHERE sale_id = ${id} AND position = 6`,
  ],
  [
    'the-line-is-counted-right',
    'one is counted who does not wait',
    (id) => stock(id, ['waiting', 1]),
  ],
  [
    'the-line-is-counted-right',
    'one stands in line uncounted',
    (id) => client(id).zadd(saleKey(id, 'line'), 0, 'unit\t000000000009\tada\t1'),
  ],
  [
    'the-line-is-counted-right',
    'one stands in line for what there is not',
    (id) => client(id).zadd(saleKey(id, 'line'), 0, 'other\t000000000009\tada\t1'),
  ],
  [
    'the-line-is-counted-right',
    'one waits by buyer alone',
    (id) => client(id).hset(saleKey(id, 'waiting'), 'ada\tunit', 'unit\t000000000009\tada\t1'),
  ],
  [
    'everybody-in-line-is-found',
    'an entry names no place',
    (id) => client(id).hset(saleKey(id, 'waiting'), 'ada\tunit', 'unit\t000000000009\tada\t1'),
  ],
  [
    'everybody-in-line-is-found',
    "an entry names somebody else's place",
    async (id) => {
      const member = 'unit\t000000000009\tada\t1';
      await stock(id, ['waiting', 1]);
      await client(id).zadd(saleKey(id, 'line'), 0, member);
      await client(id).hset(saleKey(id, 'waiting'), 'grace\tunit', member);
    },
  ],
  [
    'no-dead-letters',
    'an event was refused',
    (id) => admin.sql`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES (${id}, '1-0', 9999, 'EUR', 'x', 'x')`,
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a status differs',
    (id) => editRecord(id, 'buyer-9', (record) => record.replace('\tR\t', '\tC\t')),
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a version differs',
    (id) => editRecord(id, 'buyer-9', (record) => record.replace(/^1\t/, '2\t')),
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a quantity differs',
    (id) => editRecord(id, 'buyer-9', (record) => record.replace('unit*1', 'unit*2')),
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
    'another buyer has it',
    (id) => admin.sql`
      UPDATE reservations SET buyer_id = 'thief' WHERE sale_id = ${id} AND position = 9`,
  ],
  [
    'every-reservation-in-redis-is-a-row',
    'a record is there twice',
    (id) => editRecord(id, 'buyer-9', (record) => `${record}\n${record}`),
  ],
  [
    'every-row-is-in-redis',
    'Redis forgets a buyer',
    (id) => client(id).hdel(saleKey(id, 'buyers'), 'buyer-9'),
  ],
  [
    'first-come-first-served',
    'the order is edited',
    (id) => client(id).lset(saleKey(id, 'order'), 8, 'buyer-10'),
  ],
];

test('every check was shown to fail', async () => {
  const report = await verifySale(admin, await saleAtRest(), PATIENCE);
  const shown = new Set(CORRUPTIONS.map(([check]) => check));
  assert.deepEqual(
    report.checks.map(({ name }) => name).filter((name) => !shown.has(name)),
    [],
  );
});

test('the promises hold, and are found to hold, while the sale is running', async () => {
  const { saleId } = await makeSale(admin, { stock: 1_000_000 });
  const over = new AbortController();
  let sold = 0;
  const buying = (async () => {
    while (!over.signal.aborted) {
      await buyMany(admin.shards, saleId, { count: 300, batchSize: 50, prefix: `b${sold}` });
      sold += 300;
      const body = { sku: 'unit', delta: sold % 600 === 0 ? 5 : -5 };
      assert.equal((await admin.call(`POST /sales/${saleId}/stock`, { body })).status, 200);
      await pause(20);
    }
  })();
  for (let round = 0; round < 3; round += 1) assertHolds(await verifySale(admin, saleId));
  over.abort();
  await buying;
  assert.ok(sold > 1_000, `${sold} were sold meanwhile`);
  const report = await admin.call(`GET /sales/${saleId}/verify`);
  assert.equal(report.body.ok, true);
});

test('the promises hold through a whole life: extended, confirmed, refunded, expired, served from the line', async () => {
  const sale = await makeSale(admin, { stock: 60, holdSeconds: 3 });
  const { saleId } = sale;
  const outcomes = await buy(
    admin.shards,
    saleId,
    Array.from({ length: 60 }, (_, index) => `buyer-${index + 1}`),
  );
  const ids = outcomes.map((outcome, index) => {
    assert.ok('record' in outcome);
    return parseRecord(outcome.record, sale, `buyer-${index + 1}`).reservationId;
  });
  const waiting = Array.from({ length: 90 }, (_, index) => `waiter-${index + 1}`);
  const places = await Promise.all(
    waiting.map((buyerId) =>
      admin.shards.call(joinWaitlist, saleId, { buyerId, sku: 'unit', quantity: 1 }),
    ),
  );
  assert.ok(places.every(({ outcome }) => outcome === 'joined'));
  const verified = verifySale(admin, saleId);
  // A sixth each: extended and left, extended and confirmed, confirmed, refunded, cancelled, left.
  const courses = [
    ['extend'],
    ['extend', 'confirm'],
    ['confirm'],
    ['confirm', 'cancel'],
    ['cancel'],
  ];
  await Promise.all(
    ids.map(async (id, index) => {
      for (const move of courses[index % 6] ?? []) {
        const moved = await admin.call(`POST /reservations/${id}/${move}`);
        assert.equal(moved.status, 200, JSON.stringify(moved.body));
      }
    }),
  );
  assertHolds(await verified);
  // 20 units are sold for good. The others end as holds of those in line, 40 at a time, until nobody is left.
  await eventually(
    async () => {
      const [counts] = (await stateInRedis(admin, saleId)).stock;
      assert.deepEqual(
        { ...counts },
        { sku: 'unit', loaded: 60, remaining: 40, held: 0, confirmed: 20, waiting: 0 },
      );
    },
    { timeoutMs: 60_000 },
  );
  assertHolds(await verifySale(admin, saleId));
  const rows = await admin.sql<{ status: string; rows: number }[]>`
    SELECT status, count(*) AS rows FROM reservations WHERE sale_id = ${saleId}
    GROUP BY status ORDER BY status`;
  assert.deepEqual(
    rows.map(({ status, rows: count }) => [status, count]),
    [
      ['cancelled', 20],
      ['confirmed', 20],
      ['expired', 20 + 90],
    ],
  );
  const served = await admin.sql<{ key: string }[]>`
    SELECT idempotency_key AS key FROM reservations
    WHERE sale_id = ${saleId} AND buyer_id LIKE 'waiter-%' ORDER BY position`;
  assert.deepEqual(
    served.map(({ key }) => Number(key.replace(/^waitlist /, ''))),
    waiting.map((_, index) => index + 1),
  );
});

test('a line in which people come and go is not accused', async () => {
  const { saleId } = await makeSale(admin, { stock: 1 });
  await buy(admin.shards, saleId, ['ada']);
  const over = new AbortController();
  const comingAndGoing = Array.from({ length: 20 }, async (_, index) => {
    const buyerId = `waiter-${index}`;
    while (!over.signal.aborted) {
      await admin.shards.call(joinWaitlist, saleId, { buyerId, sku: 'unit', quantity: 1 });
      await admin.shards.call(leaveWaitlist, saleId, { buyerId, tag: 'aaaaaaaa' });
    }
  });
  const readState = () => stateInRedis(admin, saleId);
  const readCheckpoint = () => Promise.resolve(0);
  const state = await readState();
  const verification = { servers: admin, saleId, state, readState, readCheckpoint };
  for (let round = 0; round < 200; round += 1) {
    for (const { name, find } of WAITLIST_CHECKS) {
      const { ok, actual } = await find(verification);
      assert.ok(ok, `${name}: ${actual}`);
    }
  }
  over.abort();
  await Promise.all(comingAndGoing);
});

test('a limit that was lowered later makes nobody a cheat', async () => {
  const { saleId } = await makeSale(admin, { perBuyerLimit: 1 });
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 3 } });
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 1 } });
  await buy(admin.shards, saleId, ['a']);
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 2 } });
  assertHolds(await verifySale(admin, saleId));
});

test('twenty thousand reservations are compared one by one', async () => {
  const { saleId } = await makeSale(admin, { stock: 20_000 });
  await buyMany(admin.shards, saleId, { count: 20_000, batchSize: 100 });
  const report = await verifySale(admin, saleId);
  assertHolds(report);
  const compared = report.checks.find(({ name }) => name === 'every-reservation-in-redis-is-a-row');
  assert.match(compared!.actual, /^20000 compared/);
});

test('without Redis nothing is proven, and the answer says so', async () => {
  const { saleId } = await makeSale(admin);
  const shards = new Shards({
    url: 'redis://127.0.0.1:1',
    name: 'test',
    commandTimeoutMs: 100,
    requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
    log: admin.log,
    onUnfit: () => undefined,
  });
  const report = await verifySale({ ...admin, shards }, saleId, PATIENCE);
  shards.close();
  assert.deepEqual(failing(report), ['redis-knows-the-sale']);
  assert.match(report.checks[0]!.actual, /not reachable/);
});

test('the command prints every check, as a table or as JSON, and answers whether all hold', async () => {
  const saleId = await saleAtRest();
  Object.assign(process.env, { REDIS_URL: admin.redis.url, DATABASE_URL: admin.databaseUrl });
  const printed: string[] = [];
  mock.method(console, 'log', (line: string) => printed.push(line));
  try {
    assert.equal(await runVerify({ sale: saleId, json: false }), true);
    assert.match(printed[0]!, new RegExp(`^${saleId}: every check passed\n  ✓ redis-knows`));
    await stock(saleId, ['remaining', 1]);
    assert.equal(await runVerify({ sale: saleId, json: true }), false);
    const [report] = JSON.parse(printed[1]!);
    assert.deepEqual([report.saleId, report.ok], [saleId, false]);
    assert.equal(await runVerify({ sale: 'none', json: false }), false);
    assert.match(printed[2]!, /✗ sale-exists/);
  } finally {
    mock.restoreAll();
  }
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
