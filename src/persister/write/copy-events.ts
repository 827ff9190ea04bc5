/**
 * The fastest way to write new reservations: one COPY. A duplicate makes it fail, so it is only for reservations that are
 * known to be new.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { firstEventFollows, type ReservationEvent } from '../../domain/reservation.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { StreamEvent } from '../stream/entries.ts';
import {
  COPY_HEAD,
  COPY_TAIL,
  int4Field,
  int8Field,
  jsonbField,
  NULL_FIELD,
  rowHead,
  textField,
  timeField,
} from './copy-format.ts';

/** Rows are formatted in chunks, so that PostgreSQL works on one while the next is formatted. */
const ROWS_PER_CHUNK = 500;

/**
 * The events must be first versions of their reservations. `persistedAt` is a time in ms of PostgreSQL's clock. It is sent,
 * because a default that differs from row to row keeps PostgreSQL from inserting many rows at once.
 */
export async function copyReservations(
  transaction: Transaction,
  events: readonly StreamEvent[],
  persistedAt: number,
): Promise<void> {
  if (events.length === 0) return;
  const writable = await transaction`
    COPY reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
      idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent, persisted_at, first_event)
    FROM STDIN (FORMAT binary)`.writable();
  await pipeline(Readable.from(chunksOf(events, persistedAt)), writable);
}

function* chunksOf(events: readonly StreamEvent[], persistedAt: number): Generator<Buffer> {
  let bytes = COPY_HEAD;
  for (const [index, event] of events.entries()) {
    bytes += rowOf(event, persistedAt);
    if ((index + 1) % ROWS_PER_CHUNK > 0) continue;
    yield Buffer.from(bytes, 'latin1');
    bytes = '';
  }
  yield Buffer.from(bytes + COPY_TAIL, 'latin1');
}

const HEAD = rowHead(17);

function rowOf({ number, reservation }: StreamEvent, persistedAt: number): string {
  return (
    HEAD +
    textField(reservation.reservationId) +
    textField(reservation.saleId) +
    textField(reservation.buyerId) +
    textField(reservation.status) +
    basketFields(reservation) +
    textField(reservation.currency) +
    int8Field(reservation.position) +
    int4Field(reservation.version) +
    textField(reservation.idempotencyKey) +
    timeField(reservation.reservedAt) +
    timeField(reservation.expiresAt) +
    timeField(reservation.occurredAt) +
    textField(reservation.requestId) +
    textField(reservation.traceparent) +
    timeField(persistedAt) +
    (firstEventFollows(reservation) ? int8Field(number) : NULL_FIELD)
  );
}

/** The last formatted basket: nearly all buyers have the same one. */
let last: { items: ReservationEvent['items']; bytes: string } = { items: [], bytes: '' };

function basketFields({ items, total }: ReservationEvent): string {
  if (items !== last.items) last = { items, bytes: jsonbField(items) + int8Field(total) };
  return last.bytes;
}
