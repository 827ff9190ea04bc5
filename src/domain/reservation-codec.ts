/**
 * The text formats of a reservation: the record that Redis stores, and the event line that the stream carries to
 * PostgreSQL. In Lua, parts/record.lua is the counterpart; no other file knows the fields.
 *
 * Record, fields separated by TAB; a buyer's records are separated by LF:
 *   version status position tag items prices reservedAt expiresAt key
 * Event line, the record followed by what only history needs; the lines of an entry are separated by LF:
 *   … buyerId occurredAt detail requestId traceparent
 *
 * `status` is one letter, `items` is `sku*quantity,…` sorted by SKU, `prices` are the unit prices in the same order. An
 * item of which a part was cancelled is `sku*left/bought`: the units that are left, and those that were bought. Other
 * times are milliseconds since the epoch. No field can contain TAB or LF (see identifiers.ts); `detail`, the one free
 * text, is percent-encoded. Most new reservations are written in the short forms of short-record.ts.
 */
import { Fault } from './fault.ts';
import { reservationIdOf } from './identifiers.ts';
import { memoizeLast } from './memoize-last.ts';
import {
  type Item,
  type OwnItem,
  type PricedItem,
  type Reservation,
  type ReservationEvent,
  type ReservationStatus,
  STATUS_OF_LETTER,
} from './reservation.ts';

const RECORD_FIELDS = 9;
const EVENT_FIELDS = 14;
const BUYER_FIELD = 9;

/** The last time that a Date and PostgreSQL can represent, ms. */
const TIME_MAX = 8.64e15;

/** Fields of an event line as PostgreSQL's regular expressions find them, also in a line that `parseEvent` rejects. */
export const EVENT_LINE_VERSION = '^([0-9]{1,9})\t';
export const EVENT_LINE_POSITION = '^[0-9]{1,9}\t[A-Z]\t([0-9]{1,16})\t';
export const FIRST_EVENT_LINE_POSITION = '^1\t[A-Z]\t([0-9]{1,16})\t';

/** Matches event lines if at least one of them leads to one of these status letters. */
export function eventLinesMatcher(letters: string): RegExp {
  // New reservations may have the short form, which begins with `=`.
  const orNew = letters.includes('R') ? '|=' : '';
  return new RegExp(`(?:^|\\n)(?:\\d+\\t[${letters}]${orNew})`);
}

const LETTERS = { reserved: 'R', confirmed: 'C', cancelled: 'X', expired: 'E' } as const;

export function letterOf(status: ReservationStatus, isExtended: boolean): string {
  return isExtended ? 'P' : LETTERS[status];
}

/** Equal baskets have equal texts. */
export function canonicalItems(items: readonly OwnItem[]): string {
  if (items.length === 1) return formatItems(items);
  return formatItems([...items].sort((a, b) => (a.sku < b.sku ? -1 : 1)));
}

/** In the given order. */
export function formatItems(items: readonly OwnItem[]): string {
  return items
    .map(({ sku, quantity, cancelled = 0 }) =>
      cancelled === 0 ? `${sku}*${quantity}` : `${sku}*${quantity}/${quantity + cancelled}`,
    )
    .join(',');
}

/** Parses a text that formatItems or canonicalItems made. */
export function parseItems(text: string): OwnItem[] {
  return text.split(',').map((item) => {
    const star = item.indexOf('*');
    const slash = item.indexOf('/', star);
    const sku = item.slice(0, star);
    if (slash === -1) return { sku, quantity: wholeNumber(item.slice(star + 1), text) };
    const quantity = wholeNumber(item.slice(star + 1, slash), text);
    return { sku, quantity, cancelled: wholeNumber(item.slice(slash + 1), text) - quantity };
  });
}

/** The basket as it was bought. */
export function boughtItems(items: readonly OwnItem[]): Item[] {
  return items.map(({ sku, quantity, cancelled = 0 }) => ({ sku, quantity: quantity + cancelled }));
}

export function formatPrices(items: readonly PricedItem[]): string {
  return items.map(({ unitPrice }) => unitPrice).join(',');
}

export type Sale = Pick<Reservation, 'saleId' | 'currency'>;

export function parseRecord(record: string, sale: Sale, buyerId: string): Reservation {
  return fromFields(record.split('\t'), record, sale, buyerId);
}

/** Parses all records of one buyer; the empty text has none. */
export function parseRecords(records: string, sale: Sale, buyerId: string): Reservation[] {
  if (records === '') return [];
  return records.split('\n').map((record) => parseRecord(record, sale, buyerId));
}

/** The letter of a record's status, which also says whether the hold was extended. */
export function letterIn(record: string): string {
  return record.split('\t', 2)[1]!;
}

/** Returns `position_tag`, the part of the reservation id after the sale id. */
export function positionAndTagOf(record: string): string {
  const [, , position, tag] = record.split('\t', 4);
  return `${position}_${tag}`;
}

/** The fields between position and key, which a batch's records for the same basket share. */
export function recordTerms(
  tag: string,
  items: string,
  prices: string,
  reservedAt: string,
  expiresAt: string,
): string {
  return `\t${tag}\t${items}\t${prices}\t${reservedAt}\t${expiresAt}\t`;
}

/** The record of a new reservation. */
export function newRecord(position: number, terms: string, idempotencyKey: string): string {
  return `1\tR\t${position}${terms}${idempotencyKey}`;
}

export interface RecordRow {
  version: number;
  status: ReservationStatus;
  isExtended: boolean;
  position: number;
  tag: string;
  /** `items` and `prices` as records have them. */
  basket: { itemsText: string; pricesText: string };
  reservedAtMs: string;
  expiresAtMs: string;
  idempotencyKey: string;
}

/** Formats a row of PostgreSQL as `parseRecord` reads it. */
export function formatRecord(row: RecordRow): string {
  const { version, status, isExtended, position, tag, basket, reservedAtMs, expiresAtMs } = row;
  const terms = recordTerms(tag, basket.itemsText, basket.pricesText, reservedAtMs, expiresAtMs);
  return `${version}\t${letterOf(status, isExtended)}\t${position}${terms}${row.idempotencyKey}`;
}

export function parseEvent(line: string, sale: Sale): ReservationEvent {
  const fields = line.split('\t');
  if (fields.length !== EVENT_FIELDS) {
    throw malformed(`an event has ${fields.length} fields, not ${EVENT_FIELDS}: ${line}`);
  }
  const reservation = fromFields(fields, line, sale, fields[BUYER_FIELD]!);
  for (const time of [reservation.reservedAt, reservation.expiresAt]) requireTime(time, line);
  return {
    ...reservation,
    occurredAt: timeOf(fields[10]!, line),
    detail: decodeDetail(fields[11]!),
    requestId: fields[12]!,
    traceparent: fields[13]!,
  };
}

export function timeOf(text: string, source: string): number {
  const time = wholeNumber(text, source);
  requireTime(time, source);
  return time;
}

function requireTime(time: number, source: string): void {
  if (Math.abs(time) > TIME_MAX) throw malformed(`${time} is not a time in: ${source}`);
}

export function decodeDetail(text: string): string {
  return text === '' ? '' : decodeURIComponent(text);
}

/** The buyer of an event line, without parsing the rest; empty if the line has no such field. */
export function buyerOfEventLine(line: string): string {
  let start = 0;
  for (let i = 0; i < BUYER_FIELD; i++) {
    start = line.indexOf('\t', start) + 1;
    if (start === 0) return '';
  }
  const end = line.indexOf('\t', start);
  return end === -1 ? line.slice(start) : line.slice(start, end);
}

/** The last two fields of an event line. */
export function formatTrace(requestId: string, traceparent: string): string {
  return `${requestId}\t${traceparent}`;
}

/** Parses items and prices as a record has them. */
export const basketOf = memoizeLast((itemsText: string, pricesText: string, source: string) => {
  const prices = pricesText.split(',');
  const items: readonly PricedItem[] = parseItems(itemsText).map((item, index) => ({
    ...item,
    unitPrice: wholeNumber(prices[index] ?? '', source),
  }));
  let total = 0;
  for (const item of items) total += item.quantity * item.unitPrice;
  return { items, total };
});

function fromFields(
  fields: string[],
  source: string,
  { saleId, currency }: Sale,
  buyerId: string,
): Reservation {
  const status = STATUS_OF_LETTER[fields[1] ?? ''];
  if (status === undefined || fields.length < RECORD_FIELDS) {
    throw malformed(`not a reservation record: ${source}`);
  }
  const position = wholeNumber(fields[2]!, source);
  const { items, total } = basketOf(fields[4]!, fields[5]!, source);
  return {
    reservationId: reservationIdOf({ saleId, position, tag: fields[3]! }),
    saleId,
    buyerId,
    status,
    items,
    total,
    currency,
    position,
    version: wholeNumber(fields[0]!, source),
    reservedAt: wholeNumber(fields[6]!, source),
    expiresAt: wholeNumber(fields[7]!, source),
    idempotencyKey: fields[8]!,
  };
}

function wholeNumber(text: string, source: string): number {
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value)) {
    throw malformed(`"${text}" is not a whole number in: ${source}`);
  }
  return value;
}

export function malformed(detail: string): Fault {
  return new Fault('reply_malformed', detail);
}
