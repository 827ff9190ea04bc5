/**
 * Writes a batch in one transaction: reservations, their history, webhook deliveries and the checkpoint. New events are
 * copied. Events that may be repeated are upserted, which is correct for duplicates and for any order, because every
 * event carries the whole reservation and its version.
 *
 * Upserts are sorted by key, because concurrent upserts in different orders deadlock. Arrays are sent as text, because
 * postgres.js takes an array's element type from its first element and gets times and jsonb wrong.
 */
import type { ReservationEvent } from '../../domain/reservation.ts';
import { isWithdrawal } from '../../domain/transition-detail.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { enqueueReservations, type Subscriber, subscribersOf } from '../../postgres/outbox.ts';
import { lockHistory } from '../../postgres/sale-locks.ts';
import { withdrawFromLedger } from '../../postgres/withdrawals.ts';
import { compareEntryIds, type StreamEvent } from '../stream/entries.ts';
import { copyHistory, copyReservations } from './copy-events.ts';

/**
 * Rejects a slow writer's batch after the sale was recovered. Decisions that Redis has forgotten must not be written once
 * the sale continues from an earlier state.
 */
export interface WriteGuard {
  /**
   * `held`: the recovery that this write is part of has the lock. It may lose it before the write ends, so the write
   * also locks the sale's row: no other timeline can begin before it ends.
   */
  lock: 'take' | 'held';
  /** The timeline of the entries. */
  timeline: number;
  /** Whether the connection that read the entries is still open. */
  isCurrent: () => boolean;
}

/** `outdated`: nothing was written, read the entries again. `ahead`: nothing was written, earlier events are missing. */
export type WriteOutcome = 'written' | 'outdated' | 'ahead';

/**
 * Writes events of one sale with consecutive numbers. Throws PostgreSQL's errors.
 *
 * PostgreSQL always has a prefix of a sale's events, so it has a state that Redis once had, from which the sale can be
 * rebuilt. Events after the prefix are therefore new and can be copied; repeated ones are upserted, whatever `method`.
 */
export async function writeBatch(
  sql: Sql,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
  method: 'copy' | 'upsert',
): Promise<WriteOutcome> {
  return inTransaction<WriteOutcome>(sql, async (transaction) => {
    // One round trip. The queries begin after the lock is granted, so they see what its last holder committed.
    const [, [progress], subscribers] = await Promise.all([
      guard.lock === 'held' || lockHistory(transaction, saleId),
      transaction<Progress[]>`
        SELECT sales.timeline, coalesce(event, 0)::bigint AS event, coalesce(entry_ms, 0)::bigint AS entry_ms,
          coalesce(entry_sequence, 0)::bigint AS entry_sequence
        FROM sales LEFT JOIN checkpoints USING (sale_id) WHERE sale_id = ${saleId}
        ${guard.lock === 'held' ? transaction`FOR SHARE OF sales` : transaction``}`,
      subscribersOf(transaction, saleId),
    ]);
    if (progress?.timeline !== guard.timeline || !guard.isCurrent()) return 'outdated';
    const [first, last] = [events[0]!, events.at(-1)!];
    if (
      first.number > progress.event + 1 &&
      !(await isGapSetAside(transaction, saleId, progress, first.entryId))
    ) {
      return 'ahead';
    }
    const isNew = first.number > progress.event;
    if (isNew && method === 'copy') {
      // In sequence: nothing else can be sent during a COPY.
      await copyEvents(transaction, events, subscribers);
      await advance(transaction, saleId, last);
    } else {
      await Promise.all([
        ...insertEvents(transaction, events, subscribers),
        advance(transaction, saleId, last),
      ]);
    }
    return 'written';
  });
}

interface Progress {
  timeline: number;
  event: number;
  entryMs: number;
  entrySequence: number;
}

/** Whether an unreadable entry explains the gap. Nobody knows how many events such an entry has. */
async function isGapSetAside(
  transaction: Transaction,
  saleId: string,
  progress: Progress,
  beforeEntry: string,
): Promise<boolean> {
  const letters = await transaction<{ entryId: string }[]>`
    SELECT entry_id FROM dead_letters WHERE sale_id = ${saleId} AND event IS NULL`;
  const after = `${progress.entryMs}-${progress.entrySequence}`;
  return letters.some(
    ({ entryId }) =>
      compareEntryIds(after, entryId) < 0 && compareEntryIds(entryId, beforeEntry) < 0,
  );
}

async function copyEvents(
  transaction: Transaction,
  events: readonly StreamEvent[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  await copyReservations(transaction, events.filter(isFirst));
  const newest = newestLater(events.filter((event) => !isFirst(event)).toSorted(byReservation));
  if (newest.length > 0) await upsertNewest(transaction, newest);
  await copyHistory(transaction, events);
  await Promise.all(recordWithdrawals(transaction, events));
  if (subscribers.length > 0) await enqueueReservations(transaction, events, subscribers);
}

function isFirst({ reservation }: StreamEvent): boolean {
  return reservation.version === 1;
}

/** Sends the statements that write one sale's events, in this order and without waiting in between. */
export function insertEvents(
  transaction: Transaction,
  events: readonly StreamEvent[],
  subscribers: readonly Subscriber[],
): Promise<unknown>[] {
  if (events.length === 0) return [];
  const sorted = events.toSorted(byReservation);
  const first = firstVersions(sorted);
  const newest = newestLater(sorted);
  const statements: Promise<unknown>[] = [];
  if (first.length > 0) statements.push(upsertFirst(transaction, first));
  if (newest.length > 0) statements.push(upsertNewest(transaction, newest));
  statements.push(
    subscribers.length === 0
      ? insertHistory(transaction, sorted)
      : insertHistoryAndDeliveries(transaction, sorted, subscribers),
  );
  statements.push(...recordWithdrawals(transaction, events));
  return statements;
}

/** Units that a cancellation took out of the sale: the stock ledger has them, so they stay out after a rebuild. */
function recordWithdrawals(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<unknown>[] {
  return events
    .filter(({ reservation }) => isWithdrawal(reservation.detail))
    .map(({ number, reservation }) => withdrawFromLedger(transaction, number, reservation));
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
     reserved_at, expires_at, updated_at, request_id, traceparent)
    SELECT * FROM unnest(
      ${column((r) => r.reservationId)}::text[], ${column((r) => r.saleId)}::text[],
      ${column((r) => r.buyerId)}::text[], ${column((r) => r.status)}::text[],
      ${events.map(({ reservation }) => JSON.stringify(reservation.items))}::text[]::jsonb[],
      ${column((r) => r.total)}::text[]::bigint[], ${column((r) => r.currency)}::text[],
      ${column((r) => r.position)}::text[]::bigint[], ${column((r) => r.version)}::text[]::integer[],
      ${column((r) => r.idempotencyKey)}::text[], ${time((r) => r.reservedAt)}::text[]::timestamptz[],
      ${time((r) => r.expiresAt)}::text[]::timestamptz[], ${time((r) => r.occurredAt)}::text[]::timestamptz[],
      ${column((r) => r.requestId)}::text[], ${column((r) => r.traceparent)}::text[])`;
}

/**
 * A reservation's first event makes its row. If a later event came before it, the row keeps the newer state and takes
 * the request id and the trace of the first one.
 */
function upsertFirst(transaction: Transaction, events: readonly StreamEvent[]): Promise<unknown> {
  return transaction`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET request_id = excluded.request_id, traceparent = excluded.traceparent
    WHERE stored.version > 1
      AND (stored.request_id, stored.traceparent) <> (excluded.request_id, excluded.traceparent)`;
}

/** A later event changes only the columns that a transition can change. */
export function upsertNewest(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<unknown> {
  return transaction`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET status = excluded.status, items = excluded.items, total = excluded.total, version = excluded.version,
      expires_at = excluded.expires_at, updated_at = excluded.updated_at
    WHERE stored.version < excluded.version`;
}

/** Events that are in the history already got their deliveries from the transaction that inserted them. */
async function insertHistoryAndDeliveries(
  transaction: Transaction,
  events: readonly StreamEvent[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  const inserted = await insertHistory(transaction, events, transaction`RETURNING event`);
  const isNew = new Set(inserted.map(({ event }) => event));
  const news = events.filter(({ number }) => isNew.has(number));
  await enqueueReservations(transaction, news, subscribers);
}

function insertHistory(
  transaction: Transaction,
  events: readonly StreamEvent[],
  returning = transaction``,
): Promise<{ event: number }[]> {
  const column = columnsOf(events);
  // The same event is left as it is. Another event with the same number is an error.
  return transaction<{ event: number }[]>`
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
    ${returning}`;
}

/** Moves the checkpoint to an event, forward only: claimed entries may have been written before. */
export function advance(
  transaction: Transaction,
  saleId: string,
  { entryId, number }: Pick<StreamEvent, 'entryId' | 'number'>,
): Promise<unknown> {
  const [ms, sequence] = entryId.split('-');
  return transaction`
    INSERT INTO checkpoints AS stored (sale_id, entry_ms, entry_sequence, event)
    VALUES (${saleId}, ${ms!}::text::bigint, ${sequence!}::text::bigint, ${String(number)}::text::bigint)
    ON CONFLICT (sale_id) DO UPDATE
    SET entry_ms = excluded.entry_ms, entry_sequence = excluded.entry_sequence, event = excluded.event,
      updated_at = now()
    WHERE stored.event < excluded.event`;
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
