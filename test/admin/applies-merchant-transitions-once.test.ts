/**
 * Every merchant transition from every status, repeated and concurrent, is applied once or rejected with the reason.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import {
  type AdminReply,
  callAdmin,
  stateInRedis,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import {
  MERCHANT_TRANSITIONS,
  type MerchantTransition,
} from '../../src/admin/reservations/transition-reservation.ts';
import { RESERVATION_TRANSITIONS, type ReservationStatus } from '../../src/domain/reservation.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const STATES = ['R', 'P', 'C', 'X', 'E'] as const;
type State = (typeof STATES)[number];
const WORD_OF: Record<State, ReservationStatus> = {
  R: 'reserved',
  P: 'reserved',
  C: 'confirmed',
  X: 'cancelled',
  E: 'expired',
};
const COUNT_OF = {
  R: 'held',
  P: 'held',
  C: 'confirmed',
  X: 'remaining',
  E: 'remaining',
} as const;
const UNITS = 10;

const admin = await useAdmin(FILE);
const replica = await useApp(FILE, admin);

/** Makes a sale with one reservation and returns the reservation's id. */
async function reserveOne(choices: Partial<SaleDefinition> = {}): Promise<string> {
  const sale = await makeSale(admin, { stock: UNITS, ...choices });
  return reserveIn(sale, 'ada');
}

async function reserveIn(sale: SaleDefinition, buyerId: string): Promise<string> {
  const [outcome] = await buy(admin.shards, sale.saleId, [buyerId]);
  assert.ok(outcome && 'record' in outcome, outcome?.outcome);
  return parseRecord(outcome.record, sale, buyerId).reservationId;
}

const saleOf = (reservationId: string) => reservationId.slice(0, reservationId.indexOf('_'));

function requestTransition(
  reservationId: string,
  name: MerchantTransition,
  options: { body?: unknown; app?: FastifyInstance } = {},
): Promise<AdminReply> {
  const { app = admin.app, body } = options;
  const path = `POST /reservations/${reservationId}/${name}`;
  return callAdmin(app, path, { as: 'merchant', ...(body === undefined ? {} : { body }) });
}

async function bring(reservationId: string, state: State): Promise<void> {
  const transitionTo: Partial<Record<State, MerchantTransition>> = {
    P: 'extend',
    C: 'confirm',
    X: 'cancel',
  };
  const name = transitionTo[state];
  if (name) assert.equal((await requestTransition(reservationId, name)).status, 200);
  if (state !== 'E') return;
  const saleId = saleOf(reservationId);
  await eventually(async () => {
    const swept = await admin.shards.call(sweep, saleId, { most: 10, tag: 'aaaaaaaa' });
    assert.ok(swept.outcome === 'swept' && swept.expired === 1);
  });
}

async function countsOf(saleId: string) {
  const [stock] = (await stateInRedis(admin, saleId)).stock;
  const { loaded, remaining, held, confirmed } = stock!;
  return { loaded, remaining, held, confirmed };
}

/** The counts of the sale when its one reservation has this status. */
function countsIn(state: State) {
  const counts = { loaded: UNITS, remaining: UNITS - 1, held: 0, confirmed: 0 };
  counts[COUNT_OF[state]] += 1;
  return counts;
}

for (const name of MERCHANT_TRANSITIONS) {
  for (const state of STATES) {
    const { from, to } = RESERVATION_TRANSITIONS[name];
    const expected = state === to ? 'repeated' : from.includes(state) ? 'applied' : 'refused';

    test(`${name} from ${state} is ${expected}`, async () => {
      const reservationId = await reserveOne(state === 'E' ? { holdSeconds: 1 } : {});
      await bring(reservationId, state);
      const saleId = saleOf(reservationId);
      const earlier = await stateInRedis(admin, saleId);
      const response = await requestTransition(reservationId, name);
      const events = (await stateInRedis(admin, saleId)).events - earlier.events;
      if (expected === 'refused') {
        assert.equal(response.status, 409);
        assert.deepEqual(
          [response.body.code, response.body.from, response.body.to],
          ['invalid_transition', WORD_OF[state], WORD_OF[to]],
        );
        assert.equal(events, 0);
        assert.deepEqual(await countsOf(saleId), countsIn(state));
        return;
      }
      assert.equal(response.status, 200, JSON.stringify(response.body));
      assert.equal(response.body.reservationId, reservationId);
      assert.equal(response.body.status, WORD_OF[to]);
      const replayed = response.headers['idempotent-replayed'];
      assert.equal(replayed, expected === 'repeated' ? 'true' : undefined);
      assert.equal(events, expected === 'repeated' ? 0 : 1);
      assert.deepEqual(await countsOf(saleId), countsIn(to));
    });
  }
}

for (const name of MERCHANT_TRANSITIONS) {
  test(`${name} requested fifty times concurrently, at two admins, is one event with one response`, async () => {
    const reservationId = await reserveOne();
    const responses = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        requestTransition(reservationId, name, { app: index % 2 ? replica : admin.app }),
      ),
    );
    for (const response of responses) {
      assert.equal(response.status, 200);
      assert.deepEqual(response.body, responses[0]!.body);
    }
    const replays = responses.filter(({ headers }) => headers['idempotent-replayed'] === 'true');
    assert.equal(replays.length, 49);
    assert.equal((await stateInRedis(admin, saleOf(reservationId))).events, 2);
    assert.deepEqual(
      await countsOf(saleOf(reservationId)),
      countsIn(RESERVATION_TRANSITIONS[name].to),
    );
  });
}

test('a concurrent confirmation and cancellation take effect in one order, and the units agree with it', async () => {
  const sale = await makeSale(admin, { stock: 100 });
  let confirmedFirst = 0;
  for (let round = 1; round <= 30; round += 1) {
    const reservationId = await reserveIn(sale, `buyer-${round}`);
    const names: MerchantTransition[] = round % 2 ? ['confirm', 'cancel'] : ['cancel', 'confirm'];
    const responses = await Promise.all(
      names.map((name, index) =>
        requestTransition(reservationId, name, { app: index ? replica : admin.app }).then(
          (response) => [name, response] as const,
        ),
      ),
    );
    const { confirm, cancel } = Object.fromEntries(responses) as Record<
      MerchantTransition,
      AdminReply
    >;
    assert.deepEqual([cancel.status, cancel.body.status], [200, 'cancelled']);
    if (confirm.status === 200) confirmedFirst += 1;
    else assert.deepEqual([confirm.status, confirm.body.from], [409, 'cancelled']);
  }
  assert.ok(confirmedFirst > 0 && confirmedFirst < 30, `${confirmedFirst} of 30`);
  assert.deepEqual(await countsOf(sale.saleId), {
    loaded: 100,
    remaining: 100,
    held: 0,
    confirmed: 0,
  });
});

test('a refund returns the unit once, for the next purchase', async () => {
  const reservationId = await reserveOne();
  const saleId = saleOf(reservationId);
  await requestTransition(reservationId, 'confirm', { body: { paymentRef: 'pay-1' } });
  await Promise.all(
    Array.from({ length: 10 }, () =>
      requestTransition(reservationId, 'cancel', { body: { reason: 'arrived broken' } }),
    ),
  );
  assert.deepEqual(await countsOf(saleId), countsIn('X'));
  const [again] = await buy(admin.shards, saleId, ['ada']);
  assert.equal(again?.outcome, 'reserved', 'the limit per buyer allows another unit');
});

test('an extension adds the hold duration of the sale, once', async () => {
  const reservationId = await reserveOne({ holdSeconds: 100 });
  const first = await requestTransition(reservationId, 'extend');
  const { reservedAt, expiresAt } = first.body;
  assert.equal(Date.parse(expiresAt) - Date.parse(reservedAt), 200_000);
  assert.deepEqual((await requestTransition(reservationId, 'extend')).body, first.body);
});

test('an extended hold does not expire at its first deadline, but at its second', async () => {
  const reservationId = await reserveOne({ holdSeconds: 2 });
  const saleId = saleOf(reservationId);
  await requestTransition(reservationId, 'extend');
  await pause(2_100);
  const early = await admin.shards.call(sweep, saleId, { most: 10, tag: 'aaaaaaaa' });
  assert.ok(early.outcome === 'swept' && early.expired === 0);
  await bring(reservationId, 'E');
  assert.deepEqual(await countsOf(saleId), countsIn('E'));
});

test('a cancelled unit goes to the waitlist in the same step', async () => {
  const sale = await makeSale(admin, { stock: 1 });
  const reservationId = await reserveIn(sale, 'ada');
  const joined = await admin.shards.call(joinWaitlist, sale.saleId, {
    buyerId: 'grace',
    sku: 'unit',
    quantity: 1,
  });
  assert.equal(joined.outcome, 'joined');
  const [waiting] = (await admin.call(`GET /sales/${sale.saleId}`)).body.skus;
  assert.deepEqual([waiting.held, waiting.waiting], [1, 1]);
  await requestTransition(reservationId, 'cancel');
  const [served] = (await admin.call(`GET /sales/${sale.saleId}`)).body.skus;
  assert.deepEqual([served.remaining, served.held, served.waiting], [0, 1, 0]);
});

test('the history records the actor, the payment reference and the reason', async (t) => {
  await usePersister(t, admin.redis.url, admin.databaseUrl);
  const reservationId = await reserveOne();
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  await admin.call(`POST /reservations/${reservationId}/extend`);
  const confirmed = await callAdmin(admin.app, `POST /reservations/${reservationId}/confirm`, {
    as: 'merchant',
    body: { paymentRef: 'pay%7 "é" 😀' },
    headers: { 'x-request-id': 'the-confirmation', traceparent },
  });
  assert.equal(confirmed.headers['x-request-id'], 'the-confirmation');
  await requestTransition(reservationId, 'cancel', { body: { reason: 'arrived broken' } });
  const { history } = await eventually(async () => {
    const shown = await admin.call(`GET /reservations/${reservationId}`);
    assert.equal(shown.body.status, 'cancelled');
    return shown.body;
  });
  type Shown = Record<'status' | 'actor' | 'paymentRef' | 'reason' | 'detail', string | null>;
  const shown = (history as Shown[]).map(({ status, actor, paymentRef, reason, detail }) => [
    status,
    actor?.replace(/:[0-9a-f]{8}$/, ''),
    paymentRef,
    reason,
    detail,
  ]);
  assert.deepEqual(shown, [
    ['reserved', undefined, null, null, ''],
    ['reserved', 'operator', null, null, ''],
    ['confirmed', 'merchant', 'pay%7 "é" 😀', null, ''],
    ['cancelled', 'merchant', null, 'arrived broken', ''],
  ]);
  assert.equal(history[2].requestId, 'the-confirmation');
  await eventually(async () => {
    const [row] = await admin.sql<{ traceparent: string }[]>`
      SELECT traceparent FROM reservation_events
      WHERE reservation_id = ${reservationId} AND version = 3`;
    assert.equal(row?.traceparent, traceparent);
  });
});
