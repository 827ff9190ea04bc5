/**
 * A correct sale for the checker, small enough to show in full: two units, and a third one loaded later. ada buys with
 * a key, is confirmed, and repeats the purchase. bert buys without a key, reads it and never pays, so it expires. carl
 * gets "sold out" between the two. dora buys the third unit and returns it. Then the sale ends: emil gets "sale ended", and
 * the end cannot be moved any more.
 */
import type { Case } from '../../chaos/check/case.ts';
import { type ClientRequest, type ClientResponse, History } from '../../chaos/clients/history.ts';
import type { EventRow, Row } from '../../chaos/server-snapshot.ts';
import {
  type PublicReservation,
  publicReservation,
  type Reservation,
  type ReservationStatus,
} from '../../src/domain/reservation.ts';

const SALE_ID = 'small';
const BEGAN_MS = Date.UTC(2026, 0, 1);
const HOLD_SECONDS = 2;

interface Step {
  status: ReservationStatus;
  atMs: number;
  requestId: string;
  detail?: string;
}

interface Story {
  buyerId: string;
  key: string;
  steps: Step[];
}

const STORIES: readonly Story[] = [
  {
    buyerId: 'ada',
    key: 'cart',
    steps: [
      { status: 'reserved', atMs: 105, requestId: 'ada-buys' },
      { status: 'confirmed', atMs: 205, requestId: 'ada-pays', detail: '{"paymentRef":"paid"}' },
    ],
  },
  {
    buyerId: 'bert',
    key: '',
    steps: [
      { status: 'reserved', atMs: 125, requestId: 'bert-buys' },
      { status: 'expired', atMs: 2_150, requestId: '' },
    ],
  },
  {
    buyerId: 'dora',
    key: '',
    steps: [
      { status: 'reserved', atMs: 5_605, requestId: 'dora-buys' },
      { status: 'cancelled', atMs: 5_705, requestId: 'dora-gives-back' },
    ],
  },
];

/** A new case, which a test may damage. */
export function smallSale(): Case {
  const history = new History();
  const say = (
    requestId: string,
    startedMs: number,
    request: ClientRequest,
    response: Partial<ClientResponse>,
  ) =>
    history.add({
      request,
      requestId,
      startedMs: BEGAN_MS + startedMs,
      endedMs: BEGAN_MS + startedMs + 10,
      response: { status: 200, code: undefined, isReplayed: false, body: {}, ...response },
    });
  const buy = (buyerId: string, key?: string) =>
    ({ kind: 'buy', buyerId, key, items: [{ sku: 'unit', quantity: 1 }] }) as const;
  const id = (position: number) => reservationOf(position, 'reserved').reservationId;

  say('ada-buys', 100, buy('ada', 'cart'), { status: 201, body: shown(1, 'reserved') });
  say('bert-buys', 120, buy('bert'), { status: 201, body: shown(2, 'reserved') });
  say('carl-buys', 1_140, buy('carl'), { status: 409, code: 'sold_out' });
  const pay = { kind: 'confirm', reservationId: id(1), paymentRef: 'paid' } as const;
  say('ada-pays', 200, pay, { body: shown(1, 'confirmed') });
  say('ada-again', 300, buy('ada', 'cart'), { isReplayed: true, body: shown(1, 'confirmed') });
  say(
    'bert-looks',
    400,
    { kind: 'me', buyerId: 'bert' },
    {
      body: { reservations: [shown(2, 'reserved')], tooManyHoldsUntil: null },
    },
  );
  say('load', 5_500, { kind: 'stock', key: 'load', sku: 'unit', delta: 1 }, {});
  say('dora-buys', 5_600, buy('dora'), { status: 201, body: shown(3, 'reserved') });
  say(
    'dora-gives-back',
    5_700,
    { kind: 'release', buyerId: 'dora', reservationId: id(3) },
    {
      body: shown(3, 'cancelled'),
    },
  );
  say('end', 5_800, { kind: 'move-end', endsAtMs: BEGAN_MS + 6_000 }, {});
  say('emil-buys', 6_100, buy('emil'), { status: 410, code: 'sale_ended' });
  const later = { kind: 'move-end', endsAtMs: BEGAN_MS + 9_000 } as const;
  say('later-end', 6_200, later, { status: 409, code: 'invalid_transition' });
  return {
    terms: {
      saleId: SALE_ID,
      perBuyerLimit: 1,
      holdSeconds: HOLD_SECONDS,
      skus: [{ sku: 'unit', price: 100, stock: 2 }],
    },
    durability: 'safe',
    history,
    snapshot: {
      redis: {
        sale: { events: '6', position: '3', endsAt: String(BEGAN_MS + 6_000) },
        stock: { 'unit:loaded': 3, 'unit:remaining': 2, 'unit:held': 0, 'unit:confirmed': 1 },
        reservations: STORIES.map((_, index) => lastOf(index + 1)),
        order: STORIES.map(({ buyerId }) => buyerId),
        waiting: 0,
        holds: 0,
      },
      postgres: {
        rows: STORIES.map((_, index) => rowOf(index + 1)),
        events: eventRows(),
        ledger: [loaded(1, 2, null), loaded(2, 1, 'load')],
        checkpointEvent: 6,
        endsAtMs: BEGAN_MS + 6_000,
        deadLetters: [],
        archivedAtMs: null,
        archivedConfirmed: {},
      },
    },
    losses: [],
  };
}

function loaded(operation: number, delta: number, idempotencyKey: string | null) {
  return {
    operation,
    event: null,
    sku: 'unit',
    delta,
    outcome: 'applied',
    idempotencyKey,
  } as const;
}

function lastOf(position: number): Reservation {
  return reservationOf(position, STORIES[position - 1]!.steps.at(-1)!.status);
}

function shown(position: number, status: ReservationStatus): PublicReservation {
  return publicReservation(reservationOf(position, status));
}

function reservationOf(position: number, status: ReservationStatus): Reservation {
  const { buyerId, key, steps } = STORIES[position - 1]!;
  const reservedAt = BEGAN_MS + steps[0]!.atMs;
  return {
    reservationId: `${SALE_ID}_${position}_tagtagta`,
    saleId: SALE_ID,
    buyerId,
    status,
    items: [{ sku: 'unit', quantity: 1, unitPrice: 100 }],
    total: 100,
    currency: 'EUR',
    position,
    version: steps.findIndex((step) => step.status === status) + 1,
    reservedAt,
    expiresAt: reservedAt + HOLD_SECONDS * 1_000,
    idempotencyKey: key,
  };
}

function rowOf(position: number): Row {
  const reservation = lastOf(position);
  return {
    ...reservation,
    reservedAt: new Date(reservation.reservedAt),
    expiresAt: new Date(reservation.expiresAt),
    requestId: STORIES[position - 1]!.steps[0]!.requestId,
  };
}

function eventRows(): EventRow[] {
  const events = STORIES.flatMap(({ steps }, index) =>
    steps.map(({ status, atMs, requestId, detail = '' }, version) => ({
      reservationId: reservationOf(index + 1, status).reservationId,
      version: version + 1,
      event: 0,
      status,
      occurredAt: new Date(BEGAN_MS + atMs),
      detail,
      requestId,
    })),
  );
  events.sort((a, b) => a.occurredAt.getTime() - b.occurredAt.getTime());
  return events.map((row, index) => ({ ...row, event: index + 1 }));
}
