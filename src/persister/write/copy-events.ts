/**
 * The fastest way to write new reservations: one COPY. A duplicate makes it fail, so it is only for reservations that are
 * known to be new.
 *
 * A row is put together from bytes: from the fields that a batch shares, written once, and from the bytes of the event's
 * short line. Nothing is parsed, and no text is made.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Transaction } from '../../postgres/connection.ts';
import { NewReservation, type SharedTerms, type StreamEvent } from '../stream/entries.ts';
import { COPY_HEAD, COPY_TAIL, CopyRows, FieldWriter } from './copy-format.ts';

/** Rows are formatted in chunks, so that PostgreSQL works on one while the next is formatted. */
const ROWS_PER_CHUNK = 500;
const FIELDS = 17;

/** Whether `copyReservations` can write the event. */
export function isCopied(event: StreamEvent): event is NewReservation {
  return event instanceof NewReservation;
}

/**
 * `persistedAt` is a time in ms of PostgreSQL's clock. It is sent, because a default that differs from row to row keeps
 * PostgreSQL from inserting many rows at once.
 */
export async function copyReservations(
  transaction: Transaction,
  events: readonly NewReservation[],
  persistedAt: number,
): Promise<void> {
  if (events.length === 0) return;
  const writable = await transaction`
    COPY reservations (sale_id, status, items, total, currency, version, reserved_at, expires_at, updated_at,
      persisted_at, reservation_id, position, buyer_id, idempotency_key, request_id, traceparent, first_event)
    FROM STDIN (FORMAT binary)`.writable();
  await pipeline(Readable.from(chunksOf(events, persistedAt)), writable);
}

function* chunksOf(events: readonly NewReservation[], persistedAt: number): Generator<Buffer> {
  yield COPY_HEAD;
  let batch: BatchOfRows | undefined;
  for (let from = 0; from < events.length; from += ROWS_PER_CHUNK) {
    const some = events.slice(from, from + ROWS_PER_CHUNK);
    const rows = new CopyRows(some.map(({ shortLine }) => shortLine));
    for (const { number, position, terms } of some) {
      if (batch?.terms !== terms) batch = batchOf(terms, persistedAt);
      writeRow(rows, batch, { number, position });
    }
    yield rows.take();
  }
  yield COPY_TAIL;
}

/** The bytes that the rows of a batch share. */
interface BatchOfRows {
  terms: SharedTerms;
  fields: Buffer;
  idStart: Buffer;
  idEnd: Buffer;
}

function batchOf(terms: SharedTerms, persistedAt: number): BatchOfRows {
  const { event, idEnd } = terms;
  const writer = new FieldWriter(FIELDS);
  writer.text(event.saleId);
  writer.text(event.status);
  writer.jsonb(event.items);
  writer.int8(event.total);
  writer.text(event.currency);
  writer.int4(event.version);
  writer.time(event.reservedAt);
  writer.time(event.expiresAt);
  writer.time(event.occurredAt);
  writer.time(persistedAt);
  return {
    terms,
    fields: writer.bytes,
    idStart: Buffer.from(`${event.saleId}_`),
    idEnd: Buffer.from(idEnd),
  };
}

/** The line has basket, buyer, key, detail, request and trace. */
function writeRow(
  rows: CopyRows,
  batch: BatchOfRows,
  { number, position }: { number: number; position: number },
): void {
  rows.write(batch.fields);
  rows.wholeNumber(batch.idStart, position, batch.idEnd);
  rows.int8(position);
  rows.skipField();
  rows.copyText();
  rows.copyText();
  rows.skipField();
  rows.copyText();
  rows.copyText();
  rows.int8(number);
}
