/**
 * The write: reservations, their history, the deliveries that tell of it and the checkpoint, in one transaction. What is
 * known to be new is copied in; what was delivered before goes by upserts, which are right for duplicates and for any
 * order of delivery, because every event carries the whole reservation and its version.
 *
 * Rows are upserted sorted by their key, for concurrent upserts in different orders deadlock. Arrays travel as text:
 * postgres.js takes an array's element type from its first element, and gets times and jsonb wrong.
 */
import type { Sql, Transaction } from '../../postgres/connection.ts';
import { lockHistory } from '../../postgres/sale-locks.ts';
import { compareEntryIds, type StreamEvent } from '../stream/entries.ts';
import { copyHistory, copyReservations } from './copy-events.ts';
import { enqueueReservations, type Subscriber, subscribersOf } from './outbox.ts';

/** How far the stream has been written, when this batch is. */
export interface Checkpoint {
  entryId: string;
  event: number;
}

/**
 * What stands between a slow writer and a sale that was recovered meanwhile. Decisions that a server has forgotten must
 * not be written once the sale sells on from before them.
 */
export interface WriteGuard {
  /**
   * `held`: by the recovery that this write is part of. Its locks may die before this write does, so it holds the row
   * of the sale, too: no other timeline begins meanwhile.
   */
  lock: 'take' | 'held';
  /** That the entries are of. */
  timeline: number;
  /** Whether the connection on which the entries were read is still there. */
  isCurrent: () => boolean;
}

/**
 * `outdated`: nothing was written, the entries must be read again. `ahead`: nothing was written, for earlier events of
 * the sale are still to come.
 */
export type WriteOutcome = 'written' | 'outdated' | 'ahead';

/**
 * Writes events of one sale whose numbers follow each other. PostgreSQL always has the events of a sale from the first
 * to some last one, so that what it has is what Redis once had: a sale can be rebuilt from it. So it is known, too, that
 * events beyond the last one are new and can be copied in; what was delivered again, or is to go by `upsert`, goes by
 * statements that do not mind. Throws what PostgreSQL says.
 */
export async function writeBatch(
  sql: Sql,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
  way: 'copy' | 'upsert',
): Promise<WriteOutcome> {
  return sql.begin<WriteOutcome>(async (transaction) => {
    // One round trip; each statement sees what was committed before it began, so after the lock was granted.
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
    const checkpoint = { entryId: last.entryId, event: last.number };
    if (isNew && way === 'copy') {
      // One after the other: while a COPY is under way nothing else can be sent.
      await copyEvents(transaction, events, subscribers);
      await advance(transaction, saleId, checkpoint);
    } else {
      await Promise.all([
        ...insertEvents(transaction, events, subscribers),
        advance(transaction, saleId, checkpoint),
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

/** Whether what is missing stood in an entry that could not be read, so that nobody knows how many events it held. */
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
  if (subscribers.length > 0) await enqueueReservations(transaction, events, subscribers);
}

function isFirst({ reservation }: StreamEvent): boolean {
  return reservation.version === 1;
}

/** Sends, in this order and without waiting in between, what writes the events, all of one sale; deliveries last. */
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
  return statements;
}

function byReservation(a: StreamEvent, b: StreamEvent): number {
  const [x, y] = [a.reservation, b.reservation];
  if (x.reservationId !== y.reservationId) return x.reservationId < y.reservationId ? -1 : 1;
  return x.version - y.version;
}

/** One statement cannot write a row twice, so what was delivered twice is sent once. */
function firstVersions(sorted: readonly StreamEvent[]): StreamEvent[] {
  return sorted.filter(({ reservation }, index) => {
    const previous = sorted[index - 1]?.reservation;
    return reservation.version === 1 && previous?.reservationId !== reservation.reservationId;
  });
}

/** For the same reason, of several versions after the first only the last is sent. */
function newestLater(sorted: readonly StreamEvent[]): StreamEvent[] {
  return sorted.filter(({ reservation }, index) => {
    const next = sorted[index + 1]?.reservation;
    return reservation.version > 1 && next?.reservationId !== reservation.reservationId;
  });
}

function rowsOf(transaction: Transaction, events: readonly StreamEvent[]) {
  const column = (pick: (event: StreamEvent['reservation']) => string | number) =>
    events.map(({ reservation }) => String(pick(reservation)));
  const time = (pick: (event: StreamEvent['reservation']) => number) =>
    events.map(({ reservation }) => isoTime(pick(reservation)));
  return transaction`
    (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, idempotency_key,
     reserved_at, expires_at, updated_at, request_id, traceparent)
    SELECT * FROM unnest(
      ${column((r) => r.reservationId)}::text[],
      ${column((r) => r.saleId)}::text[],
      ${column((r) => r.buyerId)}::text[],
      ${column((r) => r.status)}::text[],
      ${events.map(({ reservation }) => JSON.stringify(reservation.items))}::text[]::jsonb[],
      ${column((r) => r.total)}::text[]::bigint[],
      ${column((r) => r.currency)}::text[],
      ${column((r) => r.position)}::text[]::bigint[],
      ${column((r) => r.version)}::text[]::integer[],
      ${column((r) => r.idempotencyKey)}::text[],
      ${time((r) => r.reservedAt)}::text[]::timestamptz[],
      ${time((r) => r.expiresAt)}::text[]::timestamptz[],
      ${time((r) => r.occurredAt)}::text[]::timestamptz[],
      ${column((r) => r.requestId)}::text[],
      ${column((r) => r.traceparent)}::text[])`;
}

/**
 * A reservation's first event makes its row. Where a later one came before it, the row keeps the newer state and
 * learns which request made the reservation.
 */
function upsertFirst(transaction: Transaction, events: readonly StreamEvent[]): Promise<unknown> {
  return transaction`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET request_id = excluded.request_id, traceparent = excluded.traceparent
    WHERE stored.version > 1
      AND (stored.request_id, stored.traceparent) <> (excluded.request_id, excluded.traceparent)`;
}

/** A later event changes only what a transition can change. */
function upsertNewest(transaction: Transaction, events: readonly StreamEvent[]): Promise<unknown> {
  return transaction`
    INSERT INTO reservations AS stored ${rowsOf(transaction, events)}
    ON CONFLICT (reservation_id) DO UPDATE
    SET status = excluded.status, items = excluded.items, total = excluded.total, version = excluded.version,
      expires_at = excluded.expires_at, updated_at = excluded.updated_at
    WHERE stored.version < excluded.version`;
}

/** What is already in the history was delivered, or is being delivered, from the transaction that put it there. */
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
  const column = (pick: (event: StreamEvent) => string | number) =>
    events.map((event) => String(pick(event)));
  // What is there already is left alone. Where that is another event with the same number, this is an error.
  return transaction<{ event: number }[]>`
    INSERT INTO reservation_events AS stored
      (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
    SELECT * FROM unnest(
      ${column(({ reservation }) => reservation.reservationId)}::text[],
      ${column(({ reservation }) => reservation.version)}::text[]::integer[],
      ${column(({ reservation }) => reservation.saleId)}::text[],
      ${column(({ number }) => number)}::text[]::bigint[],
      ${column(({ reservation }) => reservation.status)}::text[],
      ${column(({ reservation }) => isoTime(reservation.occurredAt))}::text[]::timestamptz[],
      ${column(({ reservation }) => reservation.detail)}::text[],
      ${column(({ reservation }) => reservation.requestId)}::text[],
      ${column(({ reservation }) => reservation.traceparent)}::text[])
    -- No event has no number, so PostgreSQL refuses the row (23502).
    ON CONFLICT (sale_id, event) DO UPDATE SET event = NULL
    WHERE (stored.reservation_id, stored.version) <> (excluded.reservation_id, excluded.version)
    ${returning}`;
}

/** Only forward: entries that were claimed may have been written before. */
export function advance(
  transaction: Transaction,
  saleId: string,
  checkpoint: Checkpoint,
): Promise<unknown> {
  const [ms, sequence] = checkpoint.entryId.split('-');
  return transaction`
    INSERT INTO checkpoints AS stored (sale_id, entry_ms, entry_sequence, event)
    VALUES (${saleId}, ${ms!}::text::bigint, ${sequence!}::text::bigint, ${String(checkpoint.event)}::text::bigint)
    ON CONFLICT (sale_id) DO UPDATE
    SET entry_ms = excluded.entry_ms, entry_sequence = excluded.entry_sequence, event = excluded.event,
      updated_at = now()
    WHERE stored.event < excluded.event`;
}

/** The events of a batch share a few moments, and printing one costs more than remembering it. */
let lastMs = Number.NaN;
let lastIso = '';
function isoTime(ms: number): string {
  if (ms !== lastMs) {
    lastIso = new Date(ms).toISOString();
    lastMs = ms;
  }
  return lastIso;
}
