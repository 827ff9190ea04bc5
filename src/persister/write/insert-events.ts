/**
 * Upserts events of one sale. This is correct for duplicates and for any order, because every event carries the whole
 * reservation and its version.
 *
 * Upserts are sorted by key, because concurrent upserts in different orders deadlock. Arrays are sent as text, because
 * postgres.js takes an array's element type from its first element and gets times and jsonb wrong.
 */
import { firstEventFollows, type ReservationEvent } from '../../domain/reservation.ts';
import { isWithdrawal } from '../../domain/transition-detail.ts';
import type { Transaction } from '../../postgres/connection.ts';
import { enqueueReservations, type Subscriber } from '../../postgres/outbox.ts';
import { withdrawFromLedger } from '../../postgres/withdrawals.ts';
import { NumberTaken } from '../database/postgres-errors.ts';
import type { StreamEvent } from '../stream/entries.ts';

export interface InsertOptions {
  subscribers: readonly Subscriber[];
  /** PostgreSQL has no event with any of these numbers. */
  areNew: boolean;
}

/**
 * Throws `NumberTaken`, or PostgreSQL's error, for an event whose number another one has. The first statements are sent
 * at once, in order, so others can be sent after them without waiting.
 */
export async function insertEvents(
  transaction: Transaction,
  events: readonly StreamEvent[],
  { subscribers, areNew }: InsertOptions,
): Promise<void> {
  if (events.length === 0) return;
  const sorted = events.toSorted(byReservation);
  const firsts = firstVersions(sorted);
  const newest = newestLater(sorted);
  const history = sorted.filter(({ reservation }) => !firstEventFollows(reservation));
  const inserted = await Promise.all([
    firsts.length === 0 ? [] : upsertFirst(transaction, firsts, areNew),
    newest.length === 0 ? [] : upsertNewest(transaction, newest),
    history.length === 0 ? [] : insertHistory(transaction, history, areNew),
    ...recordWithdrawals(transaction, events),
  ]);
  if (areNew) {
    await enqueueReservations(transaction, events, subscribers);
    return;
  }
  const numbers = new Set(inserted.flat().flatMap(({ event }) => event ?? []));
  if (numbers.size === 0) return;
  await requireUnique(transaction, events[0]!.reservation.saleId, [...numbers]);
  // Events that were there already got their messages from the transaction that inserted them.
  const news = events.filter(({ number }) => numbers.has(number));
  await enqueueReservations(transaction, news, subscribers);
}

/**
 * No index has the numbers of both first and later events. Reading the whole sale instead is rare: PostgreSQL has every
 * event up to its checkpoint, apart from dead letters.
 */
async function requireUnique(
  transaction: Transaction,
  saleId: string,
  numbers: readonly number[],
): Promise<void> {
  const [taken] = await transaction<{ event: number }[]>`
    SELECT event FROM reservation_history
    JOIN unnest(${numbers.map(String)}::text[]::bigint[]) AS inserted(event) USING (event)
    WHERE sale_id = ${saleId} GROUP BY event HAVING count(*) > 1 LIMIT 1`;
  if (taken) throw new NumberTaken(saleId, taken.event);
}

/** Units that a cancellation took out of the sale: the stock ledger has them, so they stay out after a rebuild. */
function recordWithdrawals(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<never[]>[] {
  return events
    .filter(({ reservation }) => isWithdrawal(reservation.detail))
    .map(async ({ number, reservation }) => {
      await withdrawFromLedger(transaction, number, reservation);
      return [];
    });
}

function byReservation(a: StreamEvent, b: StreamEvent): number {
  const [x, y] = [a.reservation, b.reservation];
  if (x.reservationId !== y.reservationId) return x.reservationId < y.reservationId ? -1 : 1;
  return x.version - y.version;
}

/** One statement cannot write a row twice, so a repeated event is sent once. */
function firstVersions(sorted: readonly StreamEvent[]): StreamEvent[] {
  return sorted.filter(({ reservation }, index) => {
    const previous = sorted[index - 1]?.reservation;
    return reservation.version === 1 && previous?.reservationId !== reservation.reservationId;
  });
}

/** For the same reason, only the last of several later versions is sent. */
function newestLater(sorted: readonly StreamEvent[]): StreamEvent[] {
  return sorted.filter(({ reservation }, index) => {
    const next = sorted[index + 1]?.reservation;
    return reservation.version > 1 && next?.reservationId !== reservation.reservationId;
  });
}

function columnsOf(events: readonly StreamEvent[]) {
  return (pick: (reservation: ReservationEvent) => string | number) =>
    events.map(({ reservation }) => String(pick(reservation)));
}

function rowsOf(transaction: Transaction, events: readonly StreamEvent[]) {
  const column = columnsOf(events);
  const time = (pick: (reservation: ReservationEvent) => number) =>
    column((reservation) => isoTime(pick(reservation)));
  return transaction`
    (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, idempotency_key,
     reserved_at, expires_at, updated_at, request_id, traceparent, first_event)
    SELECT * FROM unnest(
      ${column((r) => r.reservationId)}::text[], ${column((r) => r.saleId)}::text[],
      ${column((r) => r.buyerId)}::text[], ${column((r) => r.status)}::text[],
      ${events.map(({ reservation }) => JSON.stringify(reservation.items))}::text[]::jsonb[],
      ${column((r) => r.total)}::text[]::bigint[], ${column((r) => r.currency)}::text[],
      ${column((r) => r.position)}::text[]::bigint[], ${column((r) => r.version)}::text[]::integer[],
      ${column((r) => r.idempotencyKey)}::text[], ${time((r) => r.reservedAt)}::text[]::timestamptz[],
      ${time((r) => r.expiresAt)}::text[]::timestamptz[], ${time((r) => r.occurredAt)}::text[]::timestamptz[],
      ${column((r) => r.requestId)}::text[], ${column((r) => r.traceparent)}::text[],
      ${events.map(firstNumber)}::text[]::bigint[])`;
}

function firstNumber({ number, reservation }: StreamEvent): string | null {
  return firstEventFollows(reservation) ? String(number) : null;
}

/**
 * A reservation's first event makes its row. If a later event came before it, the row keeps the newer state and takes
 * the request id and the trace of the first one.
 */
function upsertFirst(
  transaction: Transaction,
  events: readonly StreamEvent[],
  areNew: boolean,
): Promise<Inserted[]> {
  // A persister of an earlier version wrote first events to the history. A number that is set never changes: PostgreSQL
  // rejects the row (23502), because the version must not be null.
  return transaction<Inserted[]>`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET request_id = excluded.request_id, traceparent = excluded.traceparent, first_event = excluded.first_event,
      version = CASE WHEN stored.first_event IS NULL THEN stored.version END
    WHERE (stored.first_event IS DISTINCT FROM excluded.first_event OR excluded.first_event IS NULL
        AND (stored.request_id, stored.traceparent) <> (excluded.request_id, excluded.traceparent))
      AND NOT EXISTS (SELECT FROM reservation_events AS known
        WHERE known.reservation_id = stored.reservation_id AND known.version = 1)
    ${areNew ? transaction`` : transaction`RETURNING first_event AS event`}`;
}

/** A later event changes only the columns that a transition can change. */
export function upsertNewest(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<never[]> {
  return transaction<never[]>`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET status = excluded.status, items = excluded.items, total = excluded.total, version = excluded.version,
      expires_at = excluded.expires_at, updated_at = excluded.updated_at
    WHERE stored.version < excluded.version`;
}

function insertHistory(
  transaction: Transaction,
  events: readonly StreamEvent[],
  areNew: boolean,
): Promise<Inserted[]> {
  const column = columnsOf(events);
  // The same event is left as it is. Another later event with the same number is an error.
  return transaction<Inserted[]>`
    INSERT INTO reservation_events AS stored
      (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
    SELECT * FROM unnest(
      ${column((r) => r.reservationId)}::text[], ${column((r) => r.version)}::text[]::integer[],
      ${column((r) => r.saleId)}::text[], ${events.map(({ number }) => String(number))}::text[]::bigint[],
      ${column((r) => r.status)}::text[], ${column((r) => isoTime(r.occurredAt))}::text[]::timestamptz[],
      ${column((r) => r.detail)}::text[], ${column((r) => r.requestId)}::text[],
      ${column((r) => r.traceparent)}::text[])
    -- The number must not be null, so PostgreSQL rejects the row (23502).
    ON CONFLICT (sale_id, event) DO UPDATE SET event = NULL
    WHERE (stored.reservation_id, stored.version) <> (excluded.reservation_id, excluded.version)
    ${areNew ? transaction`` : transaction`RETURNING event`}`;
}

interface Inserted {
  /** Null: a row whose first event goes to the history. */
  event: number | null;
}

/** The events of a batch share a few times, and formatting one costs more than caching it. */
let lastMs = Number.NaN;
let lastIso = '';
function isoTime(ms: number): string {
  if (ms !== lastMs) {
    lastIso = new Date(ms).toISOString();
    lastMs = ms;
  }
  return lastIso;
}
