/** `verify` reports a sound sale as sound, at rest and while it changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE, use } from '../../harness/use.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../src/lua/buy/leave-waitlist.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { verifySale } from '../../src/verify/verify.ts';
import { WAITLIST_CHECKS } from '../../src/verify/waitlist-checks.ts';
import { waitsFor } from '../../src/verify/waits.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

test('a sale that sells is sound in every report', async () => {
  const { saleId } = await makeSale(admin, { stock: 1_000_000 });
  const over = new AbortController();
  let sold = 0;
  const buying = (async () => {
    while (!over.signal.aborted) {
      await buyMany(admin.shards, saleId, { count: 100, batchSize: 50, prefix: `b${sold}` });
      sold += 100;
      const body = { sku: 'unit', delta: sold % 200 === 0 ? 5 : -5 };
      assert.equal((await admin.call(`POST /sales/${saleId}/stock`, { body })).status, 200);
      await sleep(100);
    }
  })();
  const isLongEnough = () => sold > 500;
  for (let round = 0; round < 3 || !isLongEnough(); round += 1) {
    await assertPromisesHold(admin, saleId);
  }
  over.abort();
  await buying;
  const report = await admin.call(`GET /sales/${saleId}/verify`);
  assert.equal(report.body.ok, true);
});

test('a sale with extended, confirmed, refunded, expired and waitlisted holds is sound', async () => {
  const sale = await makeSale(admin, { stock: 60, holdSeconds: 6, waitlistHoldSeconds: 2 });
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
  const joined = await Promise.all(
    waiting.map((buyerId) =>
      admin.shards.call(joinWaitlist, saleId, { buyerId, sku: 'unit', quantity: 1 }),
    ),
  );
  assert.ok(joined.every(({ outcome }) => outcome === 'joined'));
  const verified = assertPromisesHold(admin, saleId);
  // A sixth each: extended, extended and confirmed, confirmed, refunded, cancelled, neither.
  const courses = [
    ['extend'],
    ['extend', 'confirm'],
    ['confirm'],
    ['confirm', 'cancel'],
    ['cancel'],
  ];
  await Promise.all(
    ids.map(async (id, index) => {
      for (const name of courses[index % 6] ?? []) {
        const response = await admin.call(`POST /reservations/${id}/${name}`);
        assert.equal(response.status, 200, JSON.stringify(response.body));
      }
    }),
  );
  await verified;
  // 20 units stay sold. Holds of the other 40 expire and serve the waitlist until it is empty.
  await eventually(
    async () => {
      const [counts] = (await stateInRedis(admin, saleId)).stock;
      const { loaded, remaining, held, confirmed } = counts!;
      assert.deepEqual([loaded, remaining, held, confirmed, counts!.waiting], [60, 40, 0, 20, 0]);
    },
    { timeoutMs: 60_000 },
  );
  await assertPromisesHold(admin, saleId);
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

test('a count of loaded units is sound without a cancellation that Redis lost', async (context) => {
  const own = await useAdmin(context);
  const { saleId } = await makeSale(own, { stock: 10 });
  const [outcome] = await buy(own.shards, saleId, ['ada']);
  assert.ok(outcome?.outcome === 'reserved');
  const { reservationId } = parseRecord(outcome.record, { saleId, currency: 'EUR' }, 'ada');
  await own.call(`POST /reservations/${reservationId}/cancel`, { body: { restock: false } });
  const loaded = await own.call(`POST /sales/${saleId}/stock`, { body: { sku: 'unit', delta: 5 } });
  assert.equal(loaded.body.loaded, 14);
  // No persister has written the reservation.
  await own.shards.of(saleId).client.flushall();
  await usePersister(context, own.redis.url, own.databaseUrl);
  await untilOpen(own, saleId);
  await assertPromisesHold(own, saleId);
});

test('a waitlist that buyers join and leave is sound in every report', async () => {
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
  const state = await readState();
  const waits = waitsFor(admin.sql, saleId, 0);
  const verification = { servers: admin, saleId, state, readState, ...waits };
  for (let round = 0; round < 20; round += 1) {
    for (const { name, find } of WAITLIST_CHECKS) {
      const { ok, actual } = await find(verification);
      assert.ok(ok, `${name}: ${actual}`);
    }
  }
  over.abort();
  await Promise.all(comingAndGoing);
});

test('a waitlist whose entries by quantity are still missing is compared once a sweep made them', async () => {
  const { saleId } = await makeSale(admin, { stock: 1 });
  await buy(admin.shards, saleId, ['ada']);
  await admin.shards.call(joinWaitlist, saleId, { buyerId: 'grace', sku: 'unit', quantity: 1 });
  // As a rebuild, or a process of the previous version, leaves it.
  await admin.shards.of(saleId).client.hset(saleKey(saleId, 'sale'), 'indexed', '-1');
  const verified = verifySale(admin, saleId);
  await admin.shards.publishChanged(saleId);
  const { ok, checks } = await verified;
  assert.ok(ok, JSON.stringify(checks.filter((check) => !check.ok)));
  const check = checks.find(({ name }) => name === 'the-line-is-known-by-quantity');
  assert.equal(check!.actual, '1 by quantity');
});

test('a sale whose limit was lowered later is sound', async () => {
  const { saleId } = await makeSale(admin, { perBuyerLimit: 1 });
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 3 } });
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 1 } });
  await buy(admin.shards, saleId, ['a']);
  await admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 2 } });
  await assertPromisesHold(admin, saleId);
});

test('thousands of reservations are compared one by one', async () => {
  const count = IS_LONG_RUN ? 20_000 : 5_000;
  const { saleId } = await makeSale(admin, { stock: count });
  await buyMany(admin.shards, saleId, { count, batchSize: 100 });
  const report = await verifySale(admin, saleId);
  assert.equal(report.ok, true, JSON.stringify(report.checks.filter(({ ok }) => !ok)));
  const compared = report.checks.find(({ name }) => name === 'every-reservation-in-redis-is-a-row');
  assert.match(compared!.actual, new RegExp(`^${count} compared`));
});

test('a verification that loses its connection to Redis during a read begins again', async (t) => {
  const { saleId } = await makeSale(admin, { stock: 10 });
  await buy(admin.shards, saleId, ['ada']);
  const { client } = admin.shards.of(saleId);
  const other = await use(t, () => new Redis(admin.redis.url));
  const read = client.lrange.bind(client);
  let cuts = 0;
  t.mock.method(client, 'lrange', async (...args: Parameters<typeof read>) => {
    cuts += 1;
    if (cuts === 1) await other.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    return read(...args);
  });
  await assertPromisesHold(admin, saleId);
  assert.equal(cuts, 2);
});
