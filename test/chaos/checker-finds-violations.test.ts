/**
 * The checker reports each kind of violation when a correct small sale is damaged, and nothing for the correct sale.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Case } from '../../chaos/check/case.ts';
import { check } from '../../chaos/check/check.ts';
import { VIOLATION_KINDS, type ViolationKind } from '../../chaos/check/violation.ts';
import type { Exchange } from '../../chaos/clients/history.ts';
import type { PublicReservation } from '../../src/domain/reservation.ts';
import { smallSale } from './small-sale.ts';

const exchange = ({ history }: Case, requestId: string): Exchange =>
  history.exchanges.find((each) => each.requestId === requestId)!;
const responseTo = (aCase: Case, requestId: string) => exchange(aCase, requestId).response!;
const shownTo = (aCase: Case, requestId: string) =>
  responseTo(aCase, requestId).body as PublicReservation;
const row = ({ snapshot }: Case, position: number) => snapshot.postgres.rows[position - 1]!;
const event = ({ snapshot }: Case, requestId: string) =>
  snapshot.postgres.events.find((each) => each.requestId === requestId)!;

/** Repeats a request later, with the response "sold out". */
function refuseAgain(aCase: Case, requestId: string, afterMs: number): void {
  const first = exchange(aCase, requestId);
  aCase.history.add({
    request: first.request,
    requestId: 'again',
    startedMs: first.startedMs + afterMs,
    endedMs: first.endedMs + afterMs,
    response: { status: 409, code: 'sold_out', isReplayed: false, body: {} },
  });
}

/** A buyer joins the waitlist at a time. */
function join(aCase: Case, buyerId: string, quantity: number, startedMs: number): void {
  aCase.history.add({
    request: { kind: 'join', buyerId, sku: 'unit', quantity },
    requestId: `${buyerId}-joins`,
    startedMs,
    endedMs: startedMs + 10,
    response: {
      status: 201,
      code: undefined,
      isReplayed: false,
      body: { saleId: 'small', sku: 'unit', quantity, place: 1 },
    },
  });
}

/** When the cool-down of a buyer ends who has looped since `fromMs`. */
const COOL_DOWN_MS = 600_000;

/** A buyer's reservations: 20 holds that were released, and one more after a time. Returns when the first was made. */
function holdInLoop(aCase: Case, afterMs: number): number {
  const { postgres } = aCase.snapshot;
  const [model, step] = [row(aCase, 3), event(aCase, 'dora-buys')];
  const fromMs = model.reservedAt.getTime() + 60_000;
  for (let hold = 0; hold <= 20; hold++) {
    const reservedAt = new Date(fromMs + (hold < 20 ? hold * 100 : afterMs));
    const [position, reservationId] = [4 + hold, `small_${4 + hold}_tagtagta`];
    const made = { ...step, reservationId, occurredAt: reservedAt, event: 7 + 2 * hold };
    const ended = { ...made, version: 2, event: made.event + 1, status: 'cancelled' as const };
    postgres.rows.push({ ...model, reservationId, position, buyerId: 'lou', reservedAt });
    postgres.events.push(made, ended);
  }
  return fromMs;
}

interface Damage {
  what: string;
  expected: ViolationKind;
  damage: (aCase: Case) => void;
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'another payment is recorded than the one that was accepted',
    expected: 'payment-differs',
    damage: (aCase) =>
      Object.assign(event(aCase, 'ada-pays'), { detail: '{"paymentRef":"other"}' }),
  },
  {
    what: 'units left the sale without a request',
    expected: 'operation-differs',
    damage: ({ snapshot: { postgres } }) => {
      const cancelled = postgres.events.findLast(({ status }) => status === 'cancelled')!;
      const units = { operation: null, event: cancelled.event, delta: -1 };
      postgres.ledger.push({ ...postgres.ledger[0]!, ...units });
    },
  },
  {
    what: 'an expired reservation is confirmed without a request to reclaim it',
    expected: 'illegal-transition',
    damage: (aCase) => {
      const expired = aCase.snapshot.postgres.events.find(({ status }) => status === 'expired')!;
      const confirmed = { ...expired, status: 'confirmed', version: 3, event: 7 } as const;
      aCase.snapshot.postgres.events.push({ ...confirmed, requestId: 'ada-pays' });
    },
  },
  {
    what: 'an event was restored from Redis, though no backup was',
    expected: 'history-gap',
    damage: (aCase) => Object.assign(event(aCase, 'dora-buys'), { detail: 'restored' }),
  },
  {
    what: 'an archived sale is still in Redis',
    expected: 'counts-differ',
    damage: (aCase) => {
      const response = { status: 200, code: undefined, isReplayed: false, body: {} };
      const first = exchange(aCase, 'later-end');
      aCase.history.add({ ...first, request: { kind: 'archive' }, requestId: 'archive', response });
      aCase.snapshot.postgres.archivedAtMs = first.endedMs;
    },
  },
  {
    what: 'a buyer gets a unit in a cool-down',
    expected: 'cool-down-ignored',
    damage: (aCase) => void holdInLoop(aCase, COOL_DOWN_MS - 1_000),
  },
  {
    what: 'a cool-down is shown to a buyer who has none',
    expected: 'response-untrue',
    damage: (aCase) =>
      Object.assign(responseTo(aCase, 'bert-looks').body as object, {
        tooManyHoldsUntil: new Date(0).toISOString(),
      }),
  },
  {
    what: 'more units are held than loaded',
    expected: 'oversold',
    damage: ({ terms }) => Object.assign(terms.skus[0]!, { stock: 1 }),
  },
  {
    what: 'responses alone prove more units than were loaded',
    expected: 'oversold',
    damage: (aCase) => {
      Object.assign(aCase.terms.skus[0]!, { stock: 1 });
      aCase.snapshot.postgres.events = [];
    },
  },
  {
    what: 'a unit is missing from the counts',
    expected: 'counts-differ',
    damage: ({ snapshot }) => {
      snapshot.redis.stock['unit:remaining'] = 1;
    },
  },
  {
    what: 'an acknowledged reservation is in neither server',
    expected: 'lost-reservation',
    damage: ({ snapshot }) => {
      snapshot.postgres.rows.shift();
      snapshot.redis.reservations.shift();
    },
  },
  {
    what: 'a row is missing',
    expected: 'lost-row',
    damage: ({ snapshot }) => snapshot.postgres.rows.pop(),
  },
  {
    what: 'an acknowledged confirmation has no event',
    expected: 'lost-transition',
    damage: (aCase) => {
      aCase.snapshot.postgres.events.splice(2, 1);
    },
  },
  {
    what: 'a row has an earlier status',
    expected: 'stale-row',
    damage: (aCase) => Object.assign(row(aCase, 1), { status: 'reserved', version: 1 }),
  },
  {
    what: 'a row is not in Redis',
    expected: 'never-decided',
    damage: ({ snapshot }) => snapshot.redis.reservations.pop(),
  },
  {
    what: 'a reservation has an unknown request',
    expected: 'unrequested',
    damage: (aCase) => Object.assign(event(aCase, 'dora-buys'), { requestId: 'unheard-of' }),
  },
  {
    what: 'a reservation has another buyer than its request',
    expected: 'unrequested',
    damage: (aCase) => Object.assign(row(aCase, 3), { buyerId: 'emil' }),
  },
  {
    what: 'an event number is missing in the history',
    expected: 'history-gap',
    damage: ({ snapshot }) => Object.assign(snapshot.postgres.events.at(-1)!, { event: 9 }),
  },
  {
    what: 'the checkpoint is behind',
    expected: 'history-gap',
    damage: ({ snapshot }) => {
      snapshot.postgres.checkpointEvent = 5;
    },
  },
  {
    what: 'an ended reservation was confirmed',
    expected: 'illegal-transition',
    damage: ({ snapshot }) => {
      snapshot.postgres.events.push({
        ...snapshot.postgres.events.at(-1)!,
        version: 3,
        event: 7,
        status: 'confirmed',
      });
    },
  },
  {
    what: 'a hold expired before its deadline',
    expected: 'expired-early',
    damage: (aCase) => {
      const early = aCase.snapshot.postgres.events.find(({ status }) => status === 'expired')!;
      early.occurredAt = new Date(early.occurredAt.getTime() - 100);
    },
  },
  {
    what: 'PostgreSQL rejected an event',
    expected: 'dead-letter',
    damage: ({ snapshot }) => snapshot.postgres.deadLetters.push('duplicate key'),
  },
  {
    what: 'one request made two reservations',
    expected: 'decided-twice',
    damage: (aCase) => Object.assign(row(aCase, 3), { requestId: 'bert-buys' }),
  },
  {
    what: 'two requests for one basket without a key made two reservations',
    expected: 'decided-twice',
    damage: (aCase) => {
      Object.assign(row(aCase, 2), { buyerId: 'dora' });
      aCase.snapshot.postgres.events = aCase.snapshot.postgres.events.filter(
        ({ status }) => status !== 'expired',
      );
    },
  },
  {
    what: 'a reservation was created by two responses',
    expected: 'decided-twice',
    damage: (aCase) => Object.assign(responseTo(aCase, 'ada-again'), { status: 201 }),
  },
  {
    what: 'the same request got another reservation',
    expected: 'responses-differ',
    damage: (aCase) => {
      responseTo(aCase, 'ada-again').body = shownTo(aCase, 'dora-buys');
    },
  },
  {
    what: 'a response shows another position',
    expected: 'response-contradicts-row',
    damage: (aCase) => Object.assign(shownTo(aCase, 'ada-buys'), { position: 7 }),
  },
  {
    what: 'a later response shows an earlier status',
    expected: 'response-untrue',
    damage: (aCase) => Object.assign(shownTo(aCase, 'ada-again'), { status: 'reserved' }),
  },
  {
    what: 'a response shows a purchase as one from the waitlist',
    expected: 'response-contradicts-row',
    damage: (aCase) => Object.assign(shownTo(aCase, 'ada-again'), { source: 'waitlist' }),
  },
  {
    what: 'a buyer who joins the waitlist is told of another quantity',
    expected: 'response-untrue',
    damage: (aCase) => {
      join(aCase, 'fritz', 1, exchange(aCase, 'carl-buys').startedMs);
      Object.assign(responseTo(aCase, 'fritz-joins').body as object, { quantity: 2 });
    },
  },
  {
    what: 'a response does not show a buyer’s reservation',
    expected: 'response-untrue',
    damage: (aCase) => {
      responseTo(aCase, 'bert-looks').body = { reservations: [] };
    },
  },
  {
    what: 'a buyer has two units',
    expected: 'over-limit',
    damage: (aCase) => Object.assign(row(aCase, 2), { buyerId: 'ada' }),
  },
  {
    what: "a buyer has more of a SKU than the SKU's limit",
    expected: 'over-limit',
    damage: (aCase) => {
      Object.assign(aCase.terms, { perBuyerLimit: 2 });
      Object.assign(aCase.terms.skus[0]!, { perBuyerLimit: 1 });
      Object.assign(row(aCase, 2), { buyerId: 'ada' });
    },
  },
  {
    what: 'two reservations have one position',
    expected: 'position-reused',
    damage: (aCase) => Object.assign(row(aCase, 3), { position: 2 }),
  },
  {
    what: 'a position has no reservation',
    expected: 'position-gap',
    damage: (aCase) => Object.assign(row(aCase, 3), { position: 4 }),
  },
  {
    what: 'Redis has another order',
    expected: 'position-gap',
    damage: ({ snapshot }) => snapshot.redis.order.reverse(),
  },
  {
    what: 'a purchase is earlier than the one before it',
    expected: 'time-went-back',
    damage: (aCase) => {
      row(aCase, 2).reservedAt = new Date(row(aCase, 1).reservedAt.getTime() - 1);
    },
  },
  {
    what: 'a later request has an earlier position',
    expected: 'out-of-order',
    damage: (aCase) => {
      const { startedMs, endedMs } = exchange(aCase, 'dora-buys');
      Object.assign(exchange(aCase, 'ada-buys'), {
        startedMs: startedMs + 900,
        endedMs: endedMs + 900,
      });
    },
  },
  {
    what: 'a purchase overtook a waiting buyer',
    expected: 'out-of-order',
    damage: (aCase) => {
      join(aCase, 'dora', 1, exchange(aCase, 'ada-buys').startedMs - 50);
      Object.assign(row(aCase, 3), { idempotencyKey: 'waitlist 000000000001' });
    },
  },
  {
    what: 'a rejected request has a reservation',
    expected: 'refused-but-decided',
    damage: (aCase) =>
      Object.assign(responseTo(aCase, 'dora-buys'), { status: 409, code: 'sold_out' }),
  },
  {
    what: '"sold out" while a unit was free',
    expected: 'false-refusal',
    damage: (aCase) => {
      Object.assign(exchange(aCase, 'carl-buys'), {
        startedMs: exchange(aCase, 'dora-buys').startedMs - 1_500,
        endedMs: exchange(aCase, 'dora-buys').startedMs - 1_400,
      });
    },
  },
  {
    what: '"sold out" because somebody waits for more than is free',
    expected: 'false-refusal',
    damage: (aCase) => {
      const { startedMs } = exchange(aCase, 'dora-buys');
      join(aCase, 'emil', 3, startedMs - 3_000);
      Object.assign(exchange(aCase, 'carl-buys'), {
        startedMs: startedMs - 1_500,
        endedMs: startedMs - 1_400,
      });
    },
  },
  {
    what: '"sold out" for the repeated request of a winner',
    expected: 'false-refusal',
    damage: (aCase) => refuseAgain(aCase, 'ada-buys', 1_500),
  },
  {
    what: '"sold out" for a request without a key while its hold was live',
    expected: 'false-refusal',
    damage: (aCase) => refuseAgain(aCase, 'bert-buys', 1_500),
  },
  {
    what: '"key reused" for a request without a key',
    expected: 'false-refusal',
    damage: (aCase) => {
      Object.assign(responseTo(aCase, 'carl-buys'), {
        status: 422,
        code: 'idempotency_key_reused',
      });
      join(aCase, 'carl', 2, exchange(aCase, 'carl-buys').startedMs - 100);
    },
  },
  {
    what: '"sale paused" though the sale was not paused',
    expected: 'false-refusal',
    damage: (aCase) => Object.assign(responseTo(aCase, 'carl-buys'), { code: 'sale_paused' }),
  },
  {
    what: 'a change of stock was rejected and applied',
    expected: 'operation-differs',
    damage: (aCase) =>
      Object.assign(responseTo(aCase, 'load'), { status: 409, code: 'insufficient_stock' }),
  },
  {
    what: 'a unit was sold after a buyer got "sale ended"',
    expected: 'reopened',
    damage: (aCase) =>
      Object.assign(exchange(aCase, 'emil-buys'), {
        startedMs: exchange(aCase, 'dora-buys').startedMs - 20,
        endedMs: exchange(aCase, 'dora-buys').startedMs - 10,
      }),
  },
  {
    what: 'the end was moved after a buyer got "sale ended"',
    expected: 'reopened',
    damage: (aCase) => Object.assign(responseTo(aCase, 'later-end'), { status: 200 }),
  },
  {
    what: '"sale ended" before the end',
    expected: 'false-refusal',
    damage: (aCase) => Object.assign(responseTo(aCase, 'carl-buys'), { code: 'sale_ended' }),
  },
  {
    what: 'Redis has another end than the accepted one',
    expected: 'operation-differs',
    damage: ({ snapshot }) => {
      snapshot.redis.sale.endsAt = '';
    },
  },
  {
    what: 'a response is not documented',
    expected: 'unexpected-response',
    damage: (aCase) =>
      Object.assign(responseTo(aCase, 'carl-buys'), { status: 500, code: undefined }),
  },
  {
    what: 'a request never got a response',
    expected: 'no-response',
    damage: ({ history }) => history.unsettled.push({ kind: 'me', buyerId: 'emil' }),
  },
];

test('a correct sale has no violations', () => {
  assert.deepEqual(check(smallSale()).violations, []);
});

test('"sold out" is allowed for a request without a key whose hold has expired', () => {
  const aCase = smallSale();
  refuseAgain(aCase, 'bert-buys', 2_050);
  assert.deepEqual(check(aCase).violations, []);
});

test('"sold out" is allowed for a winner that a hot path cannot know yet', () => {
  const aCase = smallSale();
  refuseAgain(aCase, 'ada-buys', 900);
  assert.deepEqual(check(aCase).violations, []);
});

test('"sold out" is allowed while somebody waits for units that are free', () => {
  const aCase = smallSale();
  const { startedMs } = exchange(aCase, 'dora-buys');
  join(aCase, 'emil', 1, startedMs - 3_000);
  Object.assign(exchange(aCase, 'carl-buys'), {
    startedMs: startedMs - 1_500,
    endedMs: startedMs - 1_400,
  });
  assert.deepEqual(check(aCase).violations, []);
});

test('a buyer whose join arrives a second time waits only from then on', () => {
  const aCase = smallSale();
  join(aCase, 'dora', 1, exchange(aCase, 'ada-buys').startedMs - 50);
  Object.assign(row(aCase, 1), { buyerId: 'dora', idempotencyKey: 'waitlist 000000000001' });
  Object.assign(row(aCase, 3), { idempotencyKey: 'waitlist 000000000002' });
  const found = check(aCase).violations.map(({ kind }) => kind);
  assert.ok(!found.includes('out-of-order'), found.join());
});

test('units that Redis was made to lose are for sale again, also before the buyer gets the response', () => {
  const aCase = smallSale();
  const first = exchange(aCase, 'ada-buys');
  const reservation = shownTo(aCase, 'bert-buys');
  const atMs = first.endedMs + 1;
  const tail = new Set<string>();
  for (const [buyerId, position] of [
    ['eve', 8],
    ['fay', 9],
  ] as const) {
    const reservationId = reservation.reservationId.replace('_2_', `_${position}_`);
    tail.add(`${reservationId}#1`);
    const body = { ...reservation, reservationId, buyerId, position };
    aCase.history.add({
      request: { ...first.request, buyerId } as Exchange['request'],
      requestId: `${buyerId}-buys`,
      startedMs: first.startedMs + 2,
      endedMs: first.endedMs + 80,
      response: { status: 201, code: undefined, isReplayed: false, body },
    });
  }
  aCase.losses = [{ kind: 'flush', atMs, overMs: atMs + 3, tail, position: 9, event: 9 }];
  assert.deepEqual(check(aCase).violations, []);
});

test('units may be withdrawn after they were sold and returned, also while a clock is wrong', () => {
  const aCase = smallSale();
  aCase.clockErrorMs = 1_000;
  const { startedMs, response } = exchange(aCase, 'load');
  const withdrawal = { kind: 'stock', key: 'withdraw', sku: 'unit', delta: -2 } as const;
  const times = { startedMs: startedMs + 260, endedMs: startedMs + 270 };
  aCase.history.add({ request: withdrawal, requestId: 'withdraw', ...times, response });
  const { redis, postgres } = aCase.snapshot;
  const [, loaded] = postgres.ledger;
  postgres.ledger.push({ ...loaded!, operation: 3, delta: -2, idempotencyKey: 'withdraw' });
  Object.assign(redis.stock, { 'unit:loaded': 1, 'unit:remaining': 0 });
  assert.deepEqual(check(aCase).violations, []);
});

test('a buyer may buy when the cool-down is over, and is not refused', () => {
  const aCase = smallSale();
  const fromMs = holdInLoop(aCase, COOL_DOWN_MS);
  const refuseAt = (startedMs: number) => {
    const until = new Date(fromMs + COOL_DOWN_MS).toISOString();
    const response = { status: 429, code: 'too_many_holds', isReplayed: false, body: { until } };
    const request = {
      kind: 'buy',
      buyerId: 'lou',
      key: 'more',
      items: [{ sku: 'unit', quantity: 1 }],
    } as const;
    const requestId = `at-${startedMs}`;
    aCase.history.add({ request, requestId, startedMs, endedMs: startedMs + 10, response });
  };
  const found = () =>
    check(aCase).violations.filter(
      ({ kind, evidence }) => kind === 'cool-down-ignored' || evidence.includes('too_many_holds'),
    );
  refuseAt(fromMs + COOL_DOWN_MS - 1_000);
  assert.deepEqual(found(), []);
  refuseAt(fromMs + COOL_DOWN_MS + 1_000);
  assert.deepEqual(
    found().map(({ kind }) => kind),
    ['false-refusal'],
  );
});

for (const { what, expected, damage } of DAMAGES) {
  test(`${expected}: ${what}`, () => {
    const aCase = smallSale();
    damage(aCase);
    const found = check(aCase).violations.map(({ kind }) => kind);
    assert.ok(found.includes(expected), `found only: ${found.join(', ') || 'nothing'}`);
  });
}

test('every kind of violation that the checker itself finds is tested here', () => {
  const found = new Set(DAMAGES.map(({ expected }) => expected));
  // The run finds these: by waiting, by watching processes, by looking into a copy, and by `verify`.
  const byTheRun = ['did-not-recover', 'process-died', 'consumed-by-a-copy', 'verify-failed'];
  const missing = Object.keys(VIOLATION_KINDS).filter((kind) => !found.has(kind as ViolationKind));
  assert.deepEqual(missing, byTheRun);
});
