/**
 * The short forms of a new reservation. What the reservations of one batch share, the terms, is written once; each
 * reservation has only what is its own. In Lua, parts/short-record.lua is the counterpart.
 *
 * Short record, in place of a buyer's only record until that changes; `.basket` if it is not the first, `TAB key` if the
 * buyer sent one:
 *   place first .basket TAB key
 * Terms, a field `first` of the hash `terms`, with items and prices for each basket:
 *   tag reservedAt expiresAt items prices …
 * Event lines, at the end of an entry's text; `basket` is empty for the first one:
 *   =first terms
 *   basket buyerId key detail requestId traceparent
 *
 * `first` is the position of the batch's first reservation, in base 36. `place` counts from there: two letters, the digits
 * of a number in base 16, from A to P. The other fields are separated by TAB, see reservation-codec.ts.
 */

import { reservationIdOf } from './identifiers.ts';
import type { ReservationEvent } from './reservation.ts';
import {
  basketOf,
  buyerOfEventLine,
  decodeDetail,
  malformed,
  newRecord,
  parseEvent,
  recordTerms,
  type Sale,
  timeOf,
} from './reservation-codec.ts';

const SHORT_RECORD = /^([A-P])([A-P])([0-9a-z]+)(?:\.(\d+))?(?:\t(.*))?$/;
const LINE_FIELDS = 6;
const A = 65;

/** Of all reservations of one batch. */
interface Terms {
  first: number;
  tag: string;
  reservedAt: string;
  expiresAt: string;
  baskets: { items: string; prices: string }[];
}

export function isShortRecord(text: string): boolean {
  const letter = text.charCodeAt(0);
  return letter >= A && letter <= A + 15;
}

/** The field of `terms` that a short record needs; undefined: it is damaged. */
export function termsFieldOf(shortRecord: string): string | undefined {
  return SHORT_RECORD.exec(shortRecord)?.[3];
}

/** The first position of the batch whose terms have this field. */
export function firstPositionOf(termsField: string): number {
  return Number.parseInt(termsField, 36);
}

/** Throws a Fault `reply_malformed` if the record or its terms are damaged, or the terms are missing. */
export function wholeRecord(shortRecord: string, termsText: string | null | undefined): string {
  const [, high, low, first, basket = '1', key = ''] = SHORT_RECORD.exec(shortRecord) ?? [];
  if (first === undefined) throw malformed(`not a short record: ${shortRecord}`);
  if (termsText === null || termsText === undefined) {
    throw malformed(`the terms ${first} are missing`);
  }
  const terms = parseTerms(first, termsText);
  const place = (high!.charCodeAt(0) - A) * 16 + low!.charCodeAt(0) - A;
  return newRecord(terms.first + place, recordTermsOf(terms, Number(basket) - 1), key);
}

/** The items and prices of the first basket, and what else the first reservation of the batch has. Throws as above. */
export function parseTerms(first: string, text: string): Terms {
  const [tag = '', reservedAt = '', expiresAt = '', ...rest] = text.split('\t');
  const position = firstPositionOf(first);
  if (!Number.isSafeInteger(position) || rest.length === 0 || rest.length % 2 !== 0) {
    throw malformed(`not the terms of a batch: ${first} ${text}`);
  }
  const baskets: Terms['baskets'] = [];
  for (let i = 0; i < rest.length; i += 2) baskets.push({ items: rest[i]!, prices: rest[i + 1]! });
  return { first: position, tag, reservedAt, expiresAt, baskets };
}

function recordTermsOf(terms: Terms, index: number): string {
  const basket = terms.baskets[index];
  if (!basket) throw malformed(`the terms ${terms.first.toString(36)} have no basket ${index + 1}`);
  return recordTerms(terms.tag, basket.items, basket.prices, terms.reservedAt, terms.expiresAt);
}

/** The number of events in the text of an entry. */
export function countEvents(text: string): number {
  let lines = 1;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines += 1;
  return termsStartIn(text) === -1 ? lines : lines - 1;
}

function termsStartIn(text: string): number {
  if (text.startsWith('=')) return 0;
  const at = text.indexOf('\n=');
  return at === -1 ? -1 : at + 1;
}

/** The events of an entry. Throws a Fault `reply_malformed` if one cannot be read. */
export function parseEvents(text: string, sale: Sale): ReservationEvent[] {
  const start = termsStartIn(text);
  if (start === -1) return text.split('\n').map((line) => parseEvent(line, sale));
  const events =
    start === 0
      ? []
      : text
          .slice(0, start - 1)
          .split('\n')
          .map((line) => parseEvent(line, sale));
  const [head, ...lines] = text.slice(start).split('\n');
  const terms = termsIn(head!);
  const newEvent = newEvents(terms, sale);
  for (const [place, line] of lines.entries()) events.push(newEvent(place, line));
  return events;
}

interface EventLine {
  buyerId: string;
  /** The whole line, as the codec documents it. */
  whole: () => string;
}

/** The event lines of an entry. Throws as above. */
export function* eventLinesOf(text: string): Generator<EventLine> {
  const start = termsStartIn(text);
  const ordinary = start === -1 ? text : text.slice(0, Math.max(0, start - 1));
  for (const line of ordinary === '' ? [] : ordinary.split('\n')) {
    yield { buyerId: buyerOfEventLine(line), whole: () => line };
  }
  if (start === -1) return;
  const [head, ...lines] = text.slice(start).split('\n');
  const terms = termsIn(head!);
  for (const [place, line] of lines.entries()) {
    const [basket, buyerId, key, ...rest] = fieldsOf(line);
    yield {
      buyerId: buyerId!,
      whole: () => {
        const shared = recordTermsOf(terms, indexOf(basket!));
        const record = newRecord(terms.first + place, shared, key!);
        return [record, buyerId, terms.reservedAt, ...rest].join('\t');
      },
    };
  }
}

export function wholeEventLines(text: string): string[] {
  return Array.from(eventLinesOf(text), ({ whole }) => whole());
}

function termsIn(head: string): Terms {
  const tab = head.indexOf('\t');
  return parseTerms(head.slice(1, tab), head.slice(tab + 1));
}

function fieldsOf(line: string): string[] {
  const fields = line.split('\t');
  if (fields.length === LINE_FIELDS) return fields;
  throw malformed(`a short event has ${fields.length} fields, not ${LINE_FIELDS}: ${line}`);
}

function indexOf(basket: string): number {
  return basket === '' ? 0 : Number(basket) - 1;
}

/** Parses what the lines share once. */
function newEvents(
  terms: Terms,
  { saleId, currency }: Sale,
): (place: number, line: string) => ReservationEvent {
  const source = `the terms ${terms.first.toString(36)}`;
  const reservedAt = timeOf(terms.reservedAt, source);
  const expiresAt = timeOf(terms.expiresAt, source);
  const baskets = terms.baskets.map(({ items, prices }) => basketOf(items, prices, source));
  return (place, line) => {
    const [basket, buyerId, key, detail, requestId, traceparent] = fieldsOf(line);
    const bought = baskets[indexOf(basket!)];
    if (!bought) throw malformed(`${source} have no basket ${basket}: ${line}`);
    const position = terms.first + place;
    return {
      reservationId: reservationIdOf({ saleId, position, tag: terms.tag }),
      saleId,
      buyerId: buyerId!,
      status: 'reserved',
      items: bought.items,
      total: bought.total,
      currency,
      position,
      version: 1,
      reservedAt,
      expiresAt,
      idempotencyKey: key!,
      occurredAt: reservedAt,
      detail: decodeDetail(detail!),
      requestId: requestId!,
      traceparent: traceparent!,
    };
  };
}
