/** No payment is swallowed: it is recorded, recognized when it is repeated, or refused with the recorded one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, stateInRedis, useAdmin, useApp } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive } from '../../harness/sales/archives.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import { noteField } from '../../src/domain/merchant-note.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

async function reserveOne(saleId: string, buyerId = 'ada'): Promise<string> {
  const [reservation] = await hold(admin.shards, saleId, [buyerId]);
  return reservation!.reservationId;
}

async function confirm(id: string, paymentRef?: string, app = admin.app) {
  const { status, headers, body } = await callAdmin(app, `POST /reservations/${id}/confirm`, {
    as: 'merchant',
    ...(paymentRef === undefined ? {} : { body: { paymentRef } }),
  });
  const isReplay = headers['idempotent-replayed'] === 'true';
  return status === 200
    ? [status, isReplay ? 'replayed' : body.status]
    : [status, body.code, body.paymentRef];
}

async function paymentsOf(id: string): Promise<[number, string | null][]> {
  const { body } = await admin.call(`GET /reservations/${id}`);
  const history: { version: number; paymentRef: string | null }[] = body.history;
  return history.map(({ version, paymentRef }) => [version, paymentRef]);
}

const REF = 'pay_1 "é" 100% 😀';

/** The same in Redis and in PostgreSQL, which decides for archived sales. */
for (const where of ['a live', 'an archived'] as const) {
  test(`in ${where} sale, a second payment is a conflict that names the recorded one`, async () => {
    const { saleId } = await makeSale(admin, { stock: 10 });
    const [paid, unpaid] = [await reserveOne(saleId), await reserveOne(saleId, 'bob')];
    assert.deepEqual(await confirm(paid, REF), [200, 'confirmed']);
    assert.deepEqual(await confirm(unpaid), [200, 'confirmed']);
    if (where === 'an archived') {
      await admin.call(`POST /sales/${saleId}/end`);
      await eventually(() => archive(admin, saleId));
    }
    assert.deepEqual(await confirm(paid, REF), [200, 'replayed']);
    assert.deepEqual(await confirm(paid, 'pay_2'), [409, 'payment_conflict', REF]);
    assert.deepEqual(await confirm(paid), [200, 'replayed']);

    assert.deepEqual(await confirm(unpaid), [200, 'replayed']);
    assert.deepEqual(await confirm(unpaid, 'pay_3'), [200, 'confirmed'], 'the payment is attached');
    assert.deepEqual(await confirm(unpaid, 'pay_3'), [200, 'replayed']);
    assert.deepEqual(await confirm(unpaid, 'pay_4'), [409, 'payment_conflict', 'pay_3']);

    const expected: [string, unknown][] = [
      [
        paid,
        [
          [1, null],
          [2, REF],
        ],
      ],
      [
        unpaid,
        [
          [1, null],
          [2, null],
          [3, 'pay_3'],
        ],
      ],
    ];
    await eventually(async () => {
      for (const [id, history] of expected) assert.deepEqual(await paymentsOf(id), history);
    });
    await assertPromisesHold(admin, saleId);
  });
}

test('of two payments at once, for a reservation without one, exactly one is recorded', async () => {
  const { saleId } = await makeSale(admin, { stock: 100 });
  for (const confirmedBefore of [false, true]) {
    const id = await reserveOne(saleId, `buyer-${confirmedBefore}`);
    if (confirmedBefore) await confirm(id);
    const refs = Array.from({ length: 10 }, (_, index) => `pay_${index}`);
    const replies = await Promise.all(refs.map((ref) => confirm(id, ref)));
    const recorded = refs[replies.findIndex(([status]) => status === 200)];
    assert.equal(replies.filter(([status]) => status === 200).length, 1);
    for (const [status, , paymentRef] of replies) {
      if (status !== 200) assert.equal(paymentRef, recorded);
    }
  }
});

test('an attached payment is announced as a change, so that nothing is shipped twice', async () => {
  const { saleId } = await makeSale(admin, { stock: 10 });
  await admin.sql`
    INSERT INTO webhook_endpoints (webhook_id, url, secret, sale_id)
    VALUES (${`hook-${saleId}`}, 'http://127.0.0.1:9', 'secret', ${saleId})`;
  const id = await reserveOne(saleId);
  await confirm(id);
  await confirm(id, 'pay_1');
  await eventually(async () => {
    const rows = await admin.sql<{ eventType: string }[]>`
      SELECT event_type FROM webhook_deliveries WHERE sale_id = ${saleId} AND event_type LIKE 'reservation.%'
      ORDER BY message_id`;
    assert.deepEqual(
      rows.map(({ eventType }) => eventType),
      ['reservation.reserved', 'reservation.confirmed', 'reservation.changed'],
    );
  });
});

test('a confirmation by an earlier version of the engine keeps its payment', async (t) => {
  const { saleId } = await makeSale(admin, { stock: 10 });
  const [id, other] = [await reserveOne(saleId), await reserveOne(saleId, 'bob')];
  await confirm(id, 'pay_1');
  await confirm(other);
  await eventually(async () => {
    const { events, drained } = await stateInRedis(admin, saleId);
    assert.equal(drained, events);
  });
  // Earlier versions wrote no note, and named no transition in the history.
  await admin.sql`
    UPDATE reservation_events SET detail = replace(detail, '"transition":"confirm",', '') WHERE sale_id = ${saleId}`;
  const { client } = admin.shards.of(saleId);
  await client.hdel(saleKey(saleId, 'past'), noteField(1), noteField(2));
  const sql = connectPostgres('postgres://nobody@127.0.0.1:1/none', {
    process: 'test',
    connectionsMax: 1,
  });
  t.after(() => sql.end({ timeout: 0 }));
  const withoutPostgres = await useApp(t, { shards: admin.shards, sql });
  assert.deepEqual((await confirm(id, 'pay_2', withoutPostgres)).slice(0, 2), [503, 'unavailable']);
  assert.deepEqual(await confirm(id, 'pay_2'), [409, 'payment_conflict', 'pay_1']);
  assert.deepEqual(await confirm(id, 'pay_1'), [200, 'replayed']);
  assert.deepEqual(await confirm(other, 'pay_3'), [200, 'confirmed']);
  assert.deepEqual(await confirm(other, 'pay_4'), [409, 'payment_conflict', 'pay_3']);
});

test('a rebuild keeps the payments', async () => {
  const { saleId } = await makeSale(admin, { stock: 10 });
  const [id, attached] = [await reserveOne(saleId), await reserveOne(saleId, 'bob')];
  await confirm(id, REF);
  await confirm(attached);
  await confirm(attached, 'pay_2');
  await eventually(async () => {
    const { events, drained } = await stateInRedis(admin, saleId);
    assert.equal(drained, events);
  });
  await admin.shards.of(saleId).client.flushall();
  await eventually(async () => {
    assert.deepEqual(await confirm(id, 'pay_3'), [409, 'payment_conflict', REF]);
  });
  assert.deepEqual(await confirm(attached, 'pay_3'), [409, 'payment_conflict', 'pay_2']);
  await assertPromisesHold(admin, saleId);
});
