/**
 * How persisters of commit 9997802 wrote events: a row in `reservations` and one in `reservation_events` for each new
 * reservation. Their statements, as they were.
 */
import type { ReservationEvent } from '../../src/domain/reservation.ts';
import type { StreamEvent } from '../../src/persister/stream/entries.ts';
import type { Sql, Transaction } from '../../src/postgres/connection.ts';

/** Returns the numbers of the events that were not there, for which that version enqueued webhook messages. */
export async function writeAsPrevious(
  sql: Sql,
  saleId: string,
  events: readonly StreamEvent[],
): Promise<number[]> {
  return sql.begin(async (transaction) => {
    const tx = transaction as unknown as Transaction;
    const first = events.filter(({ reservation }) => reservation.version === 1);
    const newest = new Map(events.map((event) => [event.reservation.reservationId, event]));
    const later = [...newest.values()].filter(({ reservation }) => reservation.version > 1);
    if (first.length > 0) {
      await tx`
        INSERT INTO reservations AS stored ${rowsOf(tx, first)}
        ON CONFLICT (reservation_id) DO UPDATE
        SET request_id = excluded.request_id, traceparent = excluded.traceparent
        WHERE stored.version > 1
          AND (stored.request_id, stored.traceparent) <> (excluded.request_id, excluded.traceparent)`;
    }
    if (later.length > 0) {
      await tx`
        INSERT INTO reservations AS stored ${rowsOf(tx, later)}
        ON CONFLICT (reservation_id) DO UPDATE
        SET status = excluded.status, items = excluded.items, total = excluded.total, version = excluded.version,
          expires_at = excluded.expires_at, updated_at = excluded.updated_at
        WHERE stored.version < excluded.version`;
    }
    const column = columnsOf(events);
    const inserted = await tx<{ event: number }[]>`
      INSERT INTO reservation_events AS stored
        (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
      SELECT * FROM unnest(
        ${column((r) => r.reservationId)}::text[], ${column((r) => r.version)}::text[]::integer[],
        ${column((r) => r.saleId)}::text[], ${events.map(({ number }) => String(number))}::text[]::bigint[],
        ${column((r) => r.status)}::text[], ${column((r) => iso(r.occurredAt))}::text[]::timestamptz[],
        ${column((r) => r.detail)}::text[], ${column((r) => r.requestId)}::text[],
        ${column((r) => r.traceparent)}::text[])
      ON CONFLICT (sale_id, event) DO UPDATE SET event = NULL
      WHERE (stored.reservation_id, stored.version) <> (excluded.reservation_id, excluded.version)
      RETURNING event`;
    await tx`
      INSERT INTO checkpoints AS stored (sale_id, entry_ms, entry_sequence, event)
      VALUES (${saleId}, 1, 0, ${String(events.at(-1)!.number)}::text::bigint)
      ON CONFLICT (sale_id) DO UPDATE
      SET entry_ms = excluded.entry_ms, entry_sequence = excluded.entry_sequence, event = excluded.event,
        updated_at = now()
      WHERE stored.event < excluded.event`;
    return inserted.map(({ event }) => event);
  });
}

/** As that version's COPY: it fails if PostgreSQL has one of the events. */
export async function copyAsPrevious(sql: Sql, events: readonly StreamEvent[]): Promise<void> {
  await sql.begin(async (transaction) => {
    await send(transaction, RESERVATIONS, events.map(reservationLine));
    await send(transaction, HISTORY, events.map(historyLine));
  });
}

const RESERVATIONS = `COPY reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position,
  version, idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent) FROM STDIN`;
const HISTORY = `COPY reservation_events (reservation_id, version, sale_id, event, status, occurred_at, detail,
  request_id, traceparent) FROM STDIN`;

async function send(tx: Transaction, statement: string, lines: string[]): Promise<void> {
  const writable = await tx.unsafe(statement).writable();
  await new Promise<void>((resolve, reject) => {
    writable.once('error', reject).once('finish', resolve).end(lines.join(''));
  });
}

function reservationLine({ reservation: r }: StreamEvent): string {
  const [reserved, expires, occurred] = [r.reservedAt, r.expiresAt, r.occurredAt].map(iso);
  const named = [r.reservationId, r.saleId, r.buyerId, r.status, JSON.stringify(r.items)];
  const counted = [r.total, r.currency, r.position, r.version, r.idempotencyKey];
  return `${[...named, ...counted, reserved, expires, occurred, r.requestId, r.traceparent].join('\t')}\n`;
}

function historyLine({ number, reservation: r }: StreamEvent): string {
  const event = [r.reservationId, r.version, r.saleId, number, r.status, iso(r.occurredAt)];
  return `${[...event, r.detail, r.requestId, r.traceparent].join('\t')}\n`;
}

function columnsOf(events: readonly StreamEvent[]) {
  return (pick: (reservation: ReservationEvent) => string | number) =>
    events.map(({ reservation }) => String(pick(reservation)));
}

function rowsOf(tx: Transaction, events: readonly StreamEvent[]) {
  const column = columnsOf(events);
  return tx`
    (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, idempotency_key,
     reserved_at, expires_at, updated_at, request_id, traceparent)
    SELECT * FROM unnest(
      ${column((r) => r.reservationId)}::text[], ${column((r) => r.saleId)}::text[],
      ${column((r) => r.buyerId)}::text[], ${column((r) => r.status)}::text[],
      ${column((r) => JSON.stringify(r.items))}::text[]::jsonb[],
      ${column((r) => r.total)}::text[]::bigint[], ${column((r) => r.currency)}::text[],
      ${column((r) => r.position)}::text[]::bigint[], ${column((r) => r.version)}::text[]::integer[],
      ${column((r) => r.idempotencyKey)}::text[], ${column((r) => iso(r.reservedAt))}::text[]::timestamptz[],
      ${column((r) => iso(r.expiresAt))}::text[]::timestamptz[], ${column((r) => iso(r.occurredAt))}::text[]::timestamptz[],
      ${column((r) => r.requestId)}::text[], ${column((r) => r.traceparent)}::text[])`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
