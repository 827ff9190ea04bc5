/** A sale at rest that has everything a sale can have, except for what only passing time brings. */
import assert from 'node:assert/strict';
import { stateInRedis, type TestAdmin } from '../../../harness/engine/admin.ts';
import { eventually } from '../../../harness/eventually.ts';
import { moveFirstEvents } from '../../../harness/sales/previous-version.ts';
import { untilOpen } from '../../../harness/sales/recovery.ts';
import { assertPromisesHold } from '../../../harness/sales/reservations.ts';
import { rejectRowsUnless } from '../../../harness/servers/postgres-faults.ts';
import type { Scope } from '../../../harness/use.ts';
import { newTag, reservationIdOf } from '../../../src/domain/identifiers.ts';
import { joinWaitlist } from '../../../src/lua/buy/join-waitlist.ts';
import { reserve } from '../../../src/lua/buy/reserve.ts';

const DAY_MS = 86_400_000;

export async function saleOfAllKinds(admin: TestAdmin, scope: Scope): Promise<string> {
  const saleId = 'all-kinds';
  const call = async (request: string, body?: unknown, status = 200) => {
    const reply = await admin.call(request, body === undefined ? {} : { body });
    assert.equal(reply.status, status, `${request}: ${JSON.stringify(reply.body)}`);
    return reply.body;
  };
  const buy = async (buyerId: string, items: string, idempotencyKey = '') => {
    const tag = newTag();
    const requests = [
      { buyerId, idempotencyKey, items, requestId: `r-${buyerId}`, traceparent: '' },
    ];
    const [outcome] = await admin.shards.call(reserve, saleId, {
      tag,
      backlogMax: 1_000,
      requests,
    });
    assert.equal(outcome?.outcome, 'reserved');
    const { position } = await stateInRedis(admin, saleId);
    return reservationIdOf({ saleId, position, tag });
  };

  await call(
    'POST /sales',
    {
      saleId,
      name: 'All kinds',
      currency: 'EUR',
      startsAt: new Date(Date.now() - DAY_MS).toISOString(),
      endsAt: new Date(Date.now() + DAY_MS).toISOString(),
      perBuyerLimit: 4,
      holdSeconds: 600,
      waitlistHoldSeconds: 900,
      skus: [
        { sku: 'black', name: 'Black', price: 19_900, stock: 40, perBuyerLimit: 3 },
        { sku: 'red', name: 'Red', price: 100, stock: 10 },
        { sku: 'tiny', name: 'Tiny', price: 5, stock: 2 },
      ],
    },
    201,
  );
  await call(`PATCH /sales/${saleId}`, { skus: [{ sku: 'red', price: 20_500 }] });
  await call(`POST /sales/${saleId}/open`);
  await call(`POST /sales/${saleId}/pause`);
  await call(`POST /sales/${saleId}/resume`);
  await call(`POST /sales/${saleId}/stock`, { sku: 'black', delta: 5, reason: 'found' });
  await call(`POST /sales/${saleId}/stock`, { sku: 'black', delta: -2, reason: 'broken' });
  await call(`POST /sales/${saleId}/stock`, { sku: 'red', delta: -500 }, 409);

  await buy('ada', 'black*1');
  const extended = await buy('bob', 'black*1,red*2', 'key-1');
  const confirmed = await buy('cyd', 'black*1');
  const refunded = await buy('dan', 'red*1', 'key-2');
  const cancelled = await buy('eve', 'black*2');
  const tiny = await buy('fay', 'tiny*2');
  for (const [buyerId, quantity] of [
    ['gus', 1],
    ['hal', 2],
  ] as const) {
    await admin.shards.call(joinWaitlist, saleId, { buyerId, sku: 'tiny', quantity });
  }
  await call(`POST /reservations/${extended}/extend`);
  await call(`POST /reservations/${extended}/cancel`, { items: [{ sku: 'red', quantity: 1 }] });
  await call(`POST /reservations/${confirmed}/confirm`, { paymentRef: 'p-1' });
  await call(`POST /reservations/${refunded}/confirm`);
  await call(`POST /reservations/${refunded}/cancel`, { reason: 'returned' });
  await call(`POST /reservations/${cancelled}/cancel`, { restock: false });
  // Serves the first on the waitlist, who leaves too little for the second.
  await call(`POST /reservations/${tiny}/cancel`);

  const accept = await rejectRowsUnless(scope, admin.sql, `buyer_id <> 'poison'`);
  await buy('poison', 'black*1');
  const [letter] = await eventually(async () => {
    const rows = await admin.sql<{ id: number }[]>`
      SELECT dead_letter_id AS id FROM dead_letters WHERE sale_id = ${saleId}`;
    assert.equal(rows.length, 1);
    return rows;
  });
  await call(`POST /dead-letters/${letter!.id}/discard`, { reason: 'never' });
  // Redis loses the sale, and the recovery skips positions.
  await admin.shards.of(saleId).client.flushall();
  await eventually(async () => {
    const { body } = await admin.call(`GET /sales/${saleId}/recoveries`);
    assert.equal(body.data[0]?.outcome, 'rebuilt');
  });
  await untilOpen(admin, saleId);
  await accept();

  await buy('joe', 'tiny*1');
  await admin.shards.call(joinWaitlist, saleId, { buyerId: 'hal', sku: 'tiny', quantity: 2 });
  await buy('ivy', 'black*1,red*1');
  await buy('ivy', 'red*1');
  await buy('ivy', 'black*1', 'key-3');
  await makePast(admin, saleId, buy);
  await moveFirstEvents(admin.sql, `sale_id = '${saleId}' AND position % 2 = 0`);
  await assertPromisesHold(admin, saleId);
  return saleId;
}

/** One buyer has more ended reservations than a purchase reads. */
async function makePast(
  admin: TestAdmin,
  saleId: string,
  buy: (buyerId: string, items: string, key: string) => Promise<string>,
): Promise<void> {
  for (let round = 1; round <= 21; round += 1) {
    const id = await buy('kim', 'red*1', `key-${round}`);
    // Extended ones do not count as holds that a buyer makes and gives back in a loop.
    for (const transition of ['confirm', 'cancel']) {
      const { status } = await admin.call(`POST /reservations/${id}/${transition}`);
      assert.equal(status, 200, saleId);
    }
  }
}
