/**
 * The write: reservations, their history, the deliveries that tell of it and the checkpoint, in one transaction. Right
 * for duplicates and for any order of delivery, because every event carries the whole reservation and its version.
 *
 * Rows go in sorted by their key, for concurrent upserts in different orders deadlock. All arrays travel as text:
 * postgres.js takes an array's element type from its first element, and gets times and jsonb wrong.
 */
import type { Sql, Transaction } from '../postgres/connection.ts';
import type { StreamEvent } from './entries.ts';
import { enqueueReservations, type Subscriber, subscribersOf } from './webhooks/outbox.ts';

/** Any number of our own: the first half of the advisory locks on sales. */
const SALE_LOCKS = 5_702_418;

/** How far the stream has been written, when this batch is. */
export interface Checkpoint {
  entryId: string;
  event: number;
}

/**
 * What stands between a slow writer and a sale that was recovered meanwhile. Decisions that a restarted server has
 * forgotten must not be written once the sale sells on from before them.
 */
export interface WriteGuard {
  /** `held`: by the recovery that this write is part of. */
  lock: 'take' | 'held';
  /** Whether the server that the entries were read from is still the one we talk to. */
  isCurrent: () => boolean;
}

/** `outdated`: nothing was written, the entries must be read again. */
export type WriteOutcome = 'written' | 'outdated';

/** Throws what PostgreSQL says. */
export async function writeBatch(
  sql: Sql,
  saleId: string,
  batch: { events: readonly StreamEvent[]; checkpoint: Checkpoint | undefined },
  guard: WriteGuard,
): Promise<WriteOutcome> {
  return sql.begin<WriteOutcome>(async (transaction) => {
    const [isOurs, subscribers] = await Promise.all([
      guard.lock === 'held' || shareSale(transaction, saleId),
      // In the same round trip, so that asking costs next to nothing where nobody has subscribed.
      subscribersOf(transaction, saleId),
    ]);
    if (!isOurs || !guard.isCurrent()) return 'outdated';
    const statements = insertEvents(transaction, batch.events, subscribers);
    if (batch.checkpoint) statements.push(advance(transaction, saleId, batch.checkpoint));
    await Promise.all(statements);
    return 'written';
  });
}

/** Many writers share a sale; its recovery has it alone. False while somebody recovers it. */
async function shareSale(transaction: Transaction, saleId: string): Promise<boolean> {
  const [row] = await transaction<{ granted: boolean }[]>`
    SELECT pg_try_advisory_xact_lock_shared(${SALE_LOCKS}::int, hashtext(${saleId})) AS granted`;
  return row?.granted === true;
}

/** Until the transaction ends. False while anybody writes or recovers the sale. */
export async function lockSale(transaction: Transaction, saleId: string): Promise<boolean> {
  const [row] = await transaction<{ granted: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${SALE_LOCKS}::int, hashtext(${saleId})) AS granted`;
  return row?.granted === true;
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
  const news = events.filter(({ number }) => isNew.delete(number));
  await enqueueReservations(transaction, news, subscribers);
}

function insertHistory(
  transaction: Transaction,
  events: readonly StreamEvent[],
  returning = transaction``,
): Promise<{ event: number }[]> {
  const column = (pick: (event: StreamEvent) => string | number) =>
    events.map((event) => String(pick(event)));
  // The target is named so that another reservation with the same event number is an error and not a duplicate.
  return transaction<{ event: number }[]>`
    INSERT INTO reservation_events
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
    ON CONFLICT (reservation_id, version) DO NOTHING ${returning}`;
}

/** Only forward: of two persisters the one that read less may come later. */
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
    WHERE (stored.entry_ms, stored.entry_sequence, stored.event)
      < (excluded.entry_ms, excluded.entry_sequence, excluded.event)`;
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
