/**
 * A cancellation takes what it names, once, and every record says so: all that is left or a part, back on sale or out of
 * the sale.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive } from '../../harness/sales/archives.ts';
import { buy, hold } from '../../harness/sales/purchases.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import type { Verification } from '../../src/verify/check.ts';
import { COUNT_CHECKS } from '../../src/verify/count-checks.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

async function cancel(id: string, body: Record<string, unknown> = {}, key?: string) {
  const {
    status,
    headers,
    body: shown,
  } = await callAdmin(admin.app, `POST /reservations/${id}/cancel`, {
    as: 'merchant',
    body,
    ...(key !== undefined && { headers: { 'idempotency-key': key } }),
  });
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

const BASKET = 'black*3,red*1';

/** A sale of two SKUs, and a reservation of three units of the one and one unit of the other. */
async function basketSale(choices: { holdSeconds?: number; perBuyerLimit?: number } = {}) {
  const skus = ['black', 'red'].map((sku, index) => ({ sku, name: sku, price: 1_000 + index }));
  const { saleId } = await makeSale(admin, { stock: 3, perBuyerLimit: 4, ...choices, skus });
  await admin.call(`POST /sales/${saleId}/stock`, { body: { sku: 'red', delta: 1 } });
  const [bought] = await hold(admin.shards, saleId, ['ada'], BASKET);
  return { saleId, id: bought!.reservationId };
}

async function press(saleId: string, items: string): Promise<string> {
  return (await buy(admin.shards, saleId, ['ada'], items))[0]!.outcome;
}

async function skusOf(saleId: string) {
  const { body } = await admin.call(`GET /sales/${saleId}`);
  const skus = body.skus as Record<'loaded' | 'remaining' | 'held' | 'confirmed', number>[];
  return skus.map(({ loaded, remaining, held, confirmed }) => [loaded, remaining, held, confirmed]);
}

const black = (quantity: number) => ({ items: [{ sku: 'black', quantity }] });

for (const where of ['a live', 'an archived'] as const) {
  test(`in ${where} sale, a part is cancelled once, and the rest stays confirmed`, async () => {
    const { saleId, id } = await basketSale();
    await admin.sql`
      INSERT INTO webhook_endpoints (webhook_id, url, secret, sale_id)
      VALUES (${`hook-${saleId}`}, 'http://127.0.0.1:9', 'secret', ${saleId})`;
    await admin.call(`POST /reservations/${id}/confirm`, { body: { paymentRef: 'pay' } });
    if (where === 'an archived') {
      await admin.call(`POST /sales/${saleId}/end`);
      await eventually(() => archive(admin, saleId));
    }
    assert.deepEqual(await cancel(id, { ...black(1), reason: 'too many' }), [200, 'confirmed']);
    assert.deepEqual(await cancel(id, black(1)), [200, 'replayed']);
    assert.deepEqual(await skusOf(saleId), [
      [3, 1, 0, 2],
      [1, 0, 0, 1],
    ]);
    const broken = { ...black(1), restock: false };
    assert.deepEqual(await cancel(id, broken, 'order/7'), [200, 'confirmed']);
    assert.deepEqual(await cancel(id, broken, 'order/7'), [200, 'replayed']);
    const reused = [422, 'idempotency_key_reused', undefined, undefined];
    assert.deepEqual(await cancel(id, black(1), 'order/7'), reused);
    assert.deepEqual(await cancel(id, {}, 'order/7'), reused);
    assert.deepEqual(await skusOf(saleId), [
      [2, 1, 0, 1],
      [1, 0, 0, 1],
    ]);
    const shown = await admin.call(`GET /reservations/${id}`);
    assert.deepEqual(shown.body.items, [
      { sku: 'black', quantity: 1, cancelled: 2, unitPrice: 1_000 },
      { sku: 'red', quantity: 1, unitPrice: 1_001 },
    ]);
    assert.deepEqual([shown.body.status, shown.body.total], ['confirmed', 2_001]);
    assert.deepEqual(
      shown.body.history.slice(2).map((each: Record<string, unknown>) => {
        const { status, reason, restock, items } = each;
        return [status, reason, restock, items];
      }),
      [
        ['confirmed', 'too many', true, black(1).items],
        ['confirmed', null, false, black(1).items],
      ],
    );

    // All that is left is the ordinary cancellation.
    const rest = { items: [{ sku: 'red', quantity: 1 }, ...black(1).items], restock: false };
    assert.deepEqual(await cancel(id, rest), [200, 'cancelled']);
    assert.deepEqual(await cancel(id, rest), [200, 'replayed']);
    assert.deepEqual(await cancel(id, { restock: false }), [200, 'replayed']);
    assert.deepEqual(await cancel(id, black(1)), [200, 'replayed']);
    const ended = [409, 'invalid_transition', 'cancelled', 'cancelled'];
    assert.deepEqual(await cancel(id, black(2)), ended);
    assert.deepEqual(await cancel(id, black(1), 'another'), ended);
    assert.deepEqual(await skusOf(saleId), [
      [1, 1, 0, 0],
      [0, 0, 0, 0],
    ]);
    if (where === 'a live') await untilDrained(saleId);
    assert.deepEqual(
      [...(await ledgerOf(saleId))].sort((a, b) => (a.sku < b.sku ? -1 : 1)),
      [
        { sku: 'black', delta: -1 },
        { sku: 'black', delta: -1 },
        { sku: 'red', delta: -1 },
      ],
    );
    const csv = await admin.call(`GET /reservations.csv?saleId=${saleId}`);
    const [header, line] = String(csv.body)
      .split('\r\n')
      .map((text) => text.split(','));
    const cell = (name: string) => line![header!.indexOf(name)];
    assert.deepEqual(
      ['items', 'total', 'paymentRef', 'restocked', 'cancelledItems', 'withdrawnItems'].map(cell),
      ['black*1 red*1', '2001', 'pay', 'false', 'black*2', 'black*1'],
    );
    await eventually(async () => {
      const rows = await admin.sql<{ type: string; payload: string }[]>`
        SELECT event_type AS type, payload FROM webhook_deliveries
        WHERE sale_id = ${saleId} AND event_type LIKE 'reservation.%cancelled' ORDER BY message_id`;
      const told = rows.map(({ type, payload }) => {
        const { data } = JSON.parse(payload) as { data: Record<string, unknown> };
        return [type, data.cancelled, data.restock];
      });
      const all = [...black(1).items, { sku: 'red', quantity: 1 }];
      assert.deepEqual(told, [
        ['reservation.partly_cancelled', black(1).items, undefined],
        ['reservation.partly_cancelled', black(1).items, false],
        ['reservation.cancelled', all, false],
      ]);
    });
    await assertPromisesHold(admin, saleId);
  });
}

test('a part that the reservation does not have is refused with its fields, and nothing changes', async () => {
  const { saleId, id } = await basketSale();
  const errorsOf = async (items: unknown) => {
    const { status, body } = await admin.call(`POST /reservations/${id}/cancel`, {
      body: { items },
    });
    assert.deepEqual([status, body.code], [422, 'invalid_request']);
    return body.errors.map(({ field }: { field: string }) => field);
  };
  const own = { sku: 'red', quantity: 1 };
  assert.deepEqual(await errorsOf([{ sku: 'blue', quantity: 1 }, own]), ['items.0.sku']);
  assert.deepEqual(await errorsOf([own, { sku: 'black', quantity: 4 }]), ['items.1.quantity']);
  assert.deepEqual(await errorsOf([]), ['items']);
  assert.deepEqual(await errorsOf([own, own]), ['items.1.sku']);
  assert.deepEqual(await errorsOf([{ sku: 'red', quantity: 0 }]), ['items.0.quantity']);
  assert.deepEqual(await errorsOf([{ sku: 'red' }]), ['items.0.quantity']);
  assert.deepEqual(await skusOf(saleId), [
    [3, 0, 3, 0],
    [1, 0, 1, 0],
  ]);
});

test('a hold of which a part was cancelled keeps its extension, its basket and its buyer’s limit, and its end gives back the rest', async () => {
  const { saleId, id } = await basketSale();
  const join = { buyerId: 'bob', sku: 'black', quantity: 2 };
  await admin.shards.call(joinWaitlist, saleId, join);
  assert.deepEqual(await cancel(id, black(2)), [200, 'reserved']);
  // The freed units went to the waitlist.
  assert.deepEqual((await skusOf(saleId))[0], [3, 0, 3, 0]);
  // The same basket is the same purchase; what was cancelled can be bought by the limit.
  assert.equal(await press(saleId, BASKET), 'replayed');
  assert.equal(await press(saleId, 'black*3'), 'limit_reached');
  assert.equal(await press(saleId, 'black*2'), 'sold_out');

  await untilDrained(saleId);
  await admin.shards.of(saleId).client.flushall();
  await eventually(async () => assert.deepEqual((await skusOf(saleId))[0], [3, 0, 3, 0]));
  assert.deepEqual(await cancel(id, black(2)), [200, 'replayed']);
  assert.equal(await press(saleId, BASKET), 'replayed');
  const extended = await admin.call(`POST /reservations/${id}/extend`);
  assert.deepEqual([extended.status, extended.body.total], [200, 2_001]);
  assert.equal(extended.headers['idempotent-replayed'], undefined);
  assert.deepEqual(await cancel(id, { items: [{ sku: 'red', quantity: 1 }] }), [200, 'reserved']);
  await untilDrained(saleId);
  await admin.shards.of(saleId).client.flushall();
  await eventually(async () => assert.deepEqual((await skusOf(saleId))[1], [1, 1, 0, 0]));
  assert.equal(
    (await admin.call(`POST /reservations/${id}/extend`)).headers['idempotent-replayed'],
    'true',
  );
  await assertPromisesHold(admin, saleId);

  const short = await basketSale({ holdSeconds: 2 });
  assert.deepEqual(await cancel(short.id, black(2)), [200, 'reserved']);
  await eventually(async () => {
    assert.deepEqual(await skusOf(short.saleId), [
      [3, 3, 0, 0],
      [1, 1, 0, 0],
    ]);
  });
  assert.deepEqual(await cancel(short.id, black(2)), [200, 'replayed']);
  assert.deepEqual((await cancel(short.id, black(1))).slice(0, 3), [
    409,
    'invalid_transition',
    'expired',
  ]);
  await assertPromisesHold(admin, short.saleId);
});

test('verify counts the units of an earlier moment with the parts that were cancelled later', async () => {
  const { saleId, id } = await basketSale();
  const before = await saleState(admin.shards, saleId);
  await cancel(id, black(1));
  await cancel(id, { ...black(1), restock: false });
  await untilDrained(saleId);
  const check = COUNT_CHECKS.find(({ name }) => name === 'held-and-confirmed-are-rows')!;
  const verification = { servers: admin, saleId, readState: async () => before };
  const waits = { waitForEvent: async () => undefined };
  const { ok, actual } = await check.find({ ...verification, ...waits } as unknown as Verification);
  assert.ok(ok, actual);
});
