/** A cancellation without restock takes its units out of the sale, once, and every record says so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive } from '../../harness/sales/archives.ts';
import { buy, hold } from '../../harness/sales/purchases.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

async function cancel(id: string, body: Record<string, unknown> = {}) {
  const {
    status,
    headers,
    body: shown,
  } = await callAdmin(admin.app, `POST /reservations/${id}/cancel`, { as: 'merchant', body });
  const isReplay = headers['idempotent-replayed'] === 'true';
  return status === 200
    ? [status, isReplay ? 'replayed' : shown.status]
    : [status, shown.code, shown.from, shown.to];
}

async function countsOf(saleId: string) {
  const { body } = await admin.call(`GET /sales/${saleId}`);
  const [{ loaded, remaining, held, confirmed }] = body.skus;
  return { loaded, remaining, held, confirmed };
}

async function untilDrained(saleId: string): Promise<void> {
  await eventually(async () => {
    const { events, drained } = await stateInRedis(admin, saleId);
    assert.equal(drained, events);
  });
}

const ledgerOf = (saleId: string) =>
  admin.sql<{ sku: string; delta: number }[]>`
    SELECT sku, delta FROM stock_ledger WHERE sale_id = ${saleId} AND event IS NOT NULL ORDER BY event`;

for (const where of ['a live', 'an archived'] as const) {
  test(`in ${where} sale, refunded units leave the sale instead of being on sale again`, async () => {
    const { saleId } = await makeSale(admin, { stock: 3 });
    const reservations = await hold(admin.shards, saleId, ['ada', 'bob', 'cyd']);
    const [broken, fine, kept] = reservations.map(({ reservationId }) => reservationId);
    for (const id of [broken, fine, kept]) {
      const path = `POST /reservations/${id}/confirm`;
      assert.equal((await admin.call(path, { body: { paymentRef: 'pay' } })).status, 200);
    }
    await admin.sql`
      INSERT INTO webhook_endpoints (webhook_id, url, secret, sale_id)
      VALUES (${`hook-${saleId}`}, 'http://127.0.0.1:9', 'secret', ${saleId})`;
    if (where === 'an archived') {
      await admin.call(`POST /sales/${saleId}/end`);
      await eventually(() => archive(admin, saleId));
    }
    const refund = { reason: 'arrived broken', restock: false };
    assert.deepEqual(await cancel(broken!, refund), [200, 'cancelled']);
    assert.deepEqual(await cancel(broken!, refund), [200, 'replayed']);
    assert.deepEqual(await countsOf(saleId), { loaded: 2, remaining: 0, held: 0, confirmed: 2 });
    assert.deepEqual(await cancel(fine!, { reason: 'too small' }), [200, 'cancelled']);
    assert.deepEqual(await countsOf(saleId), { loaded: 2, remaining: 1, held: 0, confirmed: 1 });
    // The units are already where the other cancellation put them.
    const conflict = [409, 'invalid_transition', 'cancelled', 'cancelled'];
    assert.deepEqual(await cancel(fine!, { restock: false }), conflict);
    assert.deepEqual(await cancel(broken!, { restock: true }), conflict);
    assert.deepEqual(await cancel(broken!), [200, 'replayed']);
    assert.deepEqual(await countsOf(saleId), { loaded: 2, remaining: 1, held: 0, confirmed: 1 });

    if (where === 'a live') await untilDrained(saleId);
    assert.deepEqual([...(await ledgerOf(saleId))], [{ sku: 'unit', delta: -1 }]);
    const { body } = await admin.call(`GET /reservations/${broken}`);
    const { reason, restock } = body.history.at(-1);
    assert.deepEqual([reason, restock], ['arrived broken', false]);
    const csv = await admin.call(`GET /reservations.csv?saleId=${saleId}`);
    const [header, ...lines] = String(csv.body)
      .trimEnd()
      .split('\r\n')
      .map((line) => line.split(','));
    const restocked = lines.map((cells) => cells[header!.indexOf('restocked')]);
    assert.deepEqual(restocked, ['', 'true', 'false']);
    await eventually(async () => {
      const rows = await admin.sql<{ payload: string }[]>`
        SELECT payload FROM webhook_deliveries
        WHERE sale_id = ${saleId} AND event_type = 'reservation.cancelled' ORDER BY message_id`;
      const data = rows.map(
        ({ payload }) => (JSON.parse(payload) as { data: { restock?: boolean } }).data,
      );
      assert.deepEqual(
        data.map((each) => each.restock),
        [false, undefined],
      );
    });
    await assertPromisesHold(admin, saleId);
  });
}

test('a withdrawn unit goes to nobody: neither to buyers nor to the waitlist', async () => {
  const { saleId } = await makeSale(admin, { stock: 1 });
  const [held] = await hold(admin.shards, saleId, ['ada']);
  await admin.shards.call(joinWaitlist, saleId, { buyerId: 'bob', sku: 'unit', quantity: 1 });
  assert.deepEqual(await cancel(held!.reservationId, { restock: false }), [200, 'cancelled']);
  assert.deepEqual(await countsOf(saleId), { loaded: 0, remaining: 0, held: 0, confirmed: 0 });
  const [outcome] = await buy(admin.shards, saleId, ['cyd']);
  assert.equal(outcome!.outcome, 'sold_out');
  await assertPromisesHold(admin, saleId);
});

test('a rebuild keeps withdrawn units out of the sale, and operators can load others', async () => {
  const { saleId } = await makeSale(admin, { stock: 5 });
  const [held, confirmed] = await hold(admin.shards, saleId, ['ada', 'bob']);
  await admin.call(`POST /reservations/${confirmed!.reservationId}/confirm`, {
    body: { paymentRef: 'pay_1' },
  });
  for (const { reservationId } of [held!, confirmed!]) {
    await cancel(reservationId, { restock: false });
  }
  const body = { sku: 'unit', delta: 2 };
  assert.equal((await admin.call(`POST /sales/${saleId}/stock`, { body })).status, 200);
  const counts = { loaded: 5, remaining: 5, held: 0, confirmed: 0 };
  assert.deepEqual(await countsOf(saleId), counts);
  await untilDrained(saleId);
  await admin.shards.of(saleId).client.flushall();
  await eventually(async () => assert.deepEqual(await countsOf(saleId), counts));
  assert.deepEqual(await cancel(held!.reservationId, { restock: false }), [200, 'replayed']);
  await assertPromisesHold(admin, saleId);
});
