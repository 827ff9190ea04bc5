/**
 * The fastest way to write events: one COPY of new reservations, one of the history. A duplicate makes it fail, so it
 * is only for events that are known to be new.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReservationEvent } from '../../domain/reservation.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { StreamEvent } from '../stream/entries.ts';
import {
  COPY_HEAD,
  COPY_TAIL,
  int4Field,
  int8Field,
  jsonbField,
  rowHead,
  textField,
  timeField,
} from './copy-format.ts';

/** Rows are formatted in chunks, so that PostgreSQL works on one while the next is formatted. */
const ROWS_PER_CHUNK = 500;

/** The events must be first versions of their reservations. */
export async function copyReservations(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<void> {
  if (events.length === 0) return;
  const writable = await transaction`
    COPY reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
      idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent)
    FROM STDIN (FORMAT binary)`.writable();
  await pipeline(Readable.from(chunksOf(events, reservationRow)), writable);
}

export async function copyHistory(
  transaction: Transaction,
  events: readonly StreamEvent[],
): Promise<void> {
  const writable = await transaction`
    COPY reservation_events (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
    FROM STDIN (FORMAT binary)`.writable();
  await pipeline(Readable.from(chunksOf(events, historyRow)), writable);
}

function* chunksOf(
  events: readonly StreamEvent[],
  rowOf: (event: StreamEvent) => string,
): Generator<Buffer> {
  let bytes = COPY_HEAD;
  for (const [index, event] of events.entries()) {
    bytes += rowOf(event);
    if ((index + 1) % ROWS_PER_CHUNK > 0) continue;
    yield Buffer.from(bytes, 'latin1');
    bytes = '';
  }
  yield Buffer.from(bytes + COPY_TAIL, 'latin1');
}

const RESERVATION_HEAD = rowHead(15);
const HISTORY_HEAD = rowHead(9);

function reservationRow({ reservation }: StreamEvent): string {
  return (
    RESERVATION_HEAD +
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
    textField(reservation.traceparent)
  );
}

function historyRow({ number, reservation }: StreamEvent): string {
  return (
    HISTORY_HEAD +
    textField(reservation.reservationId) +
    int4Field(reservation.version) +
    textField(reservation.saleId) +
    int8Field(number) +
    textField(reservation.status) +
    timeField(reservation.occurredAt) +
    textField(reservation.detail) +
    textField(reservation.requestId) +
    textField(reservation.traceparent)
  );
}

/** The last formatted basket: nearly all buyers have the same one. */
let last: { items: ReservationEvent['items']; bytes: string } = { items: [], bytes: '' };

function basketFields({ items, total }: ReservationEvent): string {
  if (items !== last.items) last = { items, bytes: jsonbField(items) + int8Field(total) };
  return last.bytes;
}
