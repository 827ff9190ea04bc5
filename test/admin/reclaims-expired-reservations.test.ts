/** A payment that comes too late still gets its units if they are free, and a reservation has exactly one outcome. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive } from '../../harness/sales/archives.ts';
import { buy, hold } from '../../harness/sales/purchases.ts';
import { assertPromisesHold, untilExpired } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

const merchant = (path: string, body?: unknown) =>
  callAdmin(admin.app, path, { as: 'merchant', ...(body === undefined ? {} : { body }) });
const reclaim = (id: string, paymentRef = 'pay_1') =>
  merchant(`POST /reservations/${id}/confirm`, { paymentRef, reclaim: true });

/** A sale whose reservations have expired: ada's, and the others'. */
async function expiredIn(choices: Partial<SaleDefinition> & { stock: number }, others = 0) {
  // Long enough for the tests' own steps on a busy machine.
  const { saleId } = await makeSale(admin, { holdSeconds: 2, ...choices });
  const buyers = ['ada', ...Array.from({ length: others }, (_, index) => `other-${index}`)];
  const reservations = await hold(admin.shards, saleId, buyers);
  await eventually(async () => {
    const [stock] = (await stateInRedis(admin, saleId)).stock;
    assert.equal(stock!.held, 0);
  });
  return { saleId, ids: reservations.map(({ reservationId }) => reservationId) };
}

async function countsOf(saleId: string) {
  const { body } = await admin.call(`GET /sales/${saleId}`);
  const [{ loaded, remaining, held, confirmed }] = body.skus;
  return { loaded, remaining, held, confirmed };
}

for (const where of ['a live', 'an archived'] as const) {
  test(`in ${where} sale, an expired reservation is confirmed while its units are free, else 409`, async () => {
    const { saleId, ids } = await expiredIn({ stock: 2 }, 1);
    const [late, later] = ids as [string, string];
    const refused = await merchant(`POST /reservations/${late}/confirm`, { paymentRef: 'pay_1' });
    assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
    assert.match(refused.body.detail, /reclaim/);
    const [taker] = await hold(admin.shards, saleId, ['taker']);
    await merchant(`POST /reservations/${taker!.reservationId}/confirm`);
    if (where === 'an archived') {
      await admin.call(`POST /sales/${saleId}/end`);
      await eventually(() => archive(admin, saleId));
    }
    const first = await reclaim(late);
    assert.deepEqual([first.status, first.body.status], [200, 'confirmed'], JSON.stringify(first));
    assert.equal(first.headers['idempotent-replayed'], undefined);
    assert.deepEqual(await countsOf(saleId), { loaded: 2, remaining: 0, held: 0, confirmed: 2 });
    assert.equal((await reclaim(late)).headers['idempotent-replayed'], 'true');
    const other = await reclaim(late, 'pay_2');
    assert.deepEqual([other.body.code, other.body.paymentRef], ['payment_conflict', 'pay_1']);

    const tooLate = await reclaim(later);
    assert.deepEqual([tooLate.status, tooLate.body.code], [409, 'sold_out']);
    assert.deepEqual(tooLate.body.items, [{ sku: 'unit', requested: 1, available: 0 }]);
    // The refund of the reclaimed one returns its unit, which is then free for the other.
    assert.equal((await merchant(`POST /reservations/${late}/cancel`)).status, 200);
    assert.equal((await reclaim(later)).status, 200);
    await eventually(async () => {
      const { body } = await admin.call(`GET /reservations/${late}`);
      assert.deepEqual(
        body.history.map((event: { status: string; paymentRef: string | null }) => [
          event.status,
          event.paymentRef,
        ]),
        [
          ['reserved', null],
          ['expired', null],
          ['confirmed', 'pay_1'],
          ['cancelled', null],
        ],
      );
    });
    await assertPromisesHold(admin, saleId);
  });

  test(`in ${where} sale, a reclaimed unit counts against the limit, and must not exceed it`, async () => {
    const limitedSku = { sku: 'unit', name: 'A unit', price: 1_000, perBuyerLimit: 1 };
    const [{ saleId, ids }, ofSku] = await Promise.all([
      expiredIn({ stock: 5, perBuyerLimit: 1 }),
      expiredIn({ stock: 5, perBuyerLimit: 5, skus: [limitedSku] }),
    ]);
    const [again] = await hold(admin.shards, saleId, ['ada']);
    await merchant(`POST /reservations/${again!.reservationId}/confirm`);
    const [same] = await hold(admin.shards, ofSku.saleId, ['ada']);
    await merchant(`POST /reservations/${same!.reservationId}/confirm`);
    if (where === 'an archived') {
      for (const id of [saleId, ofSku.saleId]) {
        await admin.call(`POST /sales/${id}/end`);
        await eventually(() => archive(admin, id));
      }
    }
    for (const [reply, sku] of [
      [await reclaim(ids[0]!), undefined],
      [await reclaim(ofSku.ids[0]!), 'unit'],
    ] as const) {
      const { status, body } = reply;
      assert.deepEqual(
        [status, body.code, body.limit, body.remainingAllowance, body.sku],
        [409, 'limit_reached', 1, 0, sku],
      );
    }
    await merchant(`POST /reservations/${again!.reservationId}/cancel`);
    assert.equal((await reclaim(ids[0]!)).status, 200);
    if (where === 'a live') {
      const [refused] = await buy(admin.shards, saleId, ['ada']);
      assert.notEqual(refused!.outcome, 'reserved');
    }
    await assertPromisesHold(admin, saleId);
  });
}

test('a reservation that ended long ago is reclaimed, and the same basket may be bought since', async () => {
  const { saleId, ids } = await expiredIn({ stock: 50, perBuyerLimit: 3 });
  const id = ids[0]!;
  for (let round = 0; round < 21; round += 1) {
    const [next] = await hold(admin.shards, saleId, ['ada']);
    // Confirmed ones do not begin a cool-down.
    for (const name of ['confirm', 'cancel']) {
      assert.equal(
        (await merchant(`POST /reservations/${next!.reservationId}/${name}`)).status,
        200,
      );
    }
  }
  await hold(admin.shards, saleId, ['ada']);
  assert.equal((await reclaim(id)).status, 200);
  assert.deepEqual(await countsOf(saleId), { loaded: 50, remaining: 48, held: 1, confirmed: 1 });
  await assertPromisesHold(admin, saleId);
});

test('units that a buyer on the waitlist gets are not free', async () => {
  const { saleId, ids } = await expiredIn({ stock: 1 });
  const [taker] = await hold(admin.shards, saleId, ['taker']);
  await admin.shards.call(joinWaitlist, saleId, { buyerId: 'bob', sku: 'unit', quantity: 1 });
  await merchant(`POST /reservations/${taker!.reservationId}/cancel`);
  assert.equal((await reclaim(ids[0]!)).body.code, 'sold_out');
  await assertPromisesHold(admin, saleId);
});

test('a race of confirmation and expiry has exactly one outcome', async () => {
  const count = 40;
  const { saleId } = await makeSale(admin, { holdSeconds: 1, stock: count });
  const reservations = await hold(
    admin.shards,
    saleId,
    Array.from({ length: count }, (_, index) => `buyer-${index}`),
  );
  await untilExpired(admin.shards, reservations[0]!, -20);
  const replies = await Promise.all(
    reservations.flatMap(({ reservationId }, index) => [
      merchant(`POST /reservations/${reservationId}/confirm`, { paymentRef: 'pay' }),
      ...(index % 4 === 0 ? [admin.shards.call(sweep, saleId, { most: 5, tag: 'aaaaaaaa' })] : []),
    ]),
  );
  const confirmations = replies.filter((reply) => 'status' in reply);
  const confirmed = confirmations.filter(({ status }) => status === 200).length;
  await eventually(async () => {
    assert.deepEqual(await countsOf(saleId), {
      loaded: count,
      remaining: count - confirmed,
      held: 0,
      confirmed,
    });
  });
  for (const { status, body } of confirmations) {
    if (status !== 200) assert.deepEqual([body.code, body.from], ['invalid_transition', 'expired']);
  }
  await assertPromisesHold(admin, saleId);
});
