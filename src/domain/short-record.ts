/**
 * The short forms of a new reservation. What the reservations of one batch share, the terms, is written once; each
 * reservation has only what is its own. In Lua, parts/short-record.lua is the counterpart.
 *
 * Short record, in place of a buyer's only record until that changes; `.basket` if it is not the first, `SPACE key` if the
 * buyer sent one. It has no TAB: an earlier version would then take it for a record, of a reservation that has ended. What
 * is stored with a TAB there can be read.
 *   place first .basket SPACE key
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
  decodeDetail,
  formatTrace,
  malformed,
  newRecord,
  recordTerms,
  type Sale,
  timeOf,
} from './reservation-codec.ts';

const SHORT_RECORD = /^([A-P])([A-P])([0-9a-z]+)(?:\.(\d+))?(?:[ \t](.*))?$/;
const LINE_FIELDS = 6;
const A = 65;

/** What all reservations of one batch share. */
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

/** Parses a field of the hash `terms`. Throws as above. */
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

/** The event line of a reservation without detail, for the first basket of its batch. */
export function shortLine(
  request: Pick<ReservationEvent, 'buyerId' | 'idempotencyKey' | 'requestId' | 'traceparent'>,
): string {
  const trace = formatTrace(request.requestId, request.traceparent);
  return `\t${request.buyerId}\t${request.idempotencyKey}\t\t${trace}`;
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

/** The whole event lines of an entry, and its batch of new reservations. Throws as above. */
export function splitEntry(text: string): { lines: string[]; batch: ShortBatch | undefined } {
  const start = termsStartIn(text);
  if (start === -1) return { lines: text.split('\n'), batch: undefined };
  const lines = start === 0 ? [] : text.slice(0, start - 1).split('\n');
  return { lines, batch: new ShortBatch(text.slice(start)) };
}

/** The event lines of an entry, as the codec documents them. Throws as above. */
export function wholeEventLines(text: string): string[] {
  const { lines, batch } = splitEntry(text);
  if (!batch) return lines;
  return [...lines, ...batch.lines.map((_, place) => batch.wholeLineOf(place))];
}

/** New reservations in the short form. All methods throw a Fault `reply_malformed` for what is damaged. */
export class ShortBatch {
  /** By place. */
  readonly lines: readonly string[];
  readonly #terms: Terms;
  readonly #times: { reservedAt: number; expiresAt: number };

  constructor(text: string) {
    const [head, ...lines] = text.split('\n');
    const tab = head!.indexOf('\t');
    this.#terms = parseTerms(head!.slice(1, tab), head!.slice(tab + 1));
    const { reservedAt, expiresAt } = this.#terms;
    this.#times = { reservedAt: timeOf(reservedAt, head!), expiresAt: timeOf(expiresAt, head!) };
    this.lines = lines;
  }

  get tag(): string {
    return this.#terms.tag;
  }

  positionOf(place: number): number {
    return this.#terms.first + place;
  }

  buyerOf(place: number): string {
    const line = this.lines[place]!;
    const start = line.indexOf('\t') + 1;
    return line.slice(start, line.indexOf('\t', start));
  }

  wholeLineOf(place: number): string {
    const [basket, buyerId, key, ...rest] = fieldsOf(this.lines[place]!);
    const shared = recordTermsOf(this.#terms, indexOf(basket!));
    const record = newRecord(this.positionOf(place), shared, key!);
    return [record, buyerId, this.#terms.reservedAt, ...rest].join('\t');
  }

  eventOf(place: number, { saleId, currency }: Sale): ReservationEvent {
    const line = this.lines[place]!;
    const [basket, buyerId, key, detail, requestId, traceparent] = fieldsOf(line);
    const { tag, baskets } = this.#terms;
    const bought = baskets[indexOf(basket!)];
    if (!bought) throw malformed(`the terms have no basket ${basket}: ${line}`);
    const { items, total } = basketOf(bought.items, bought.prices, line);
    const position = this.positionOf(place);
    return {
      reservationId: reservationIdOf({ saleId, position, tag }),
      saleId,
      buyerId: buyerId!,
      status: 'reserved',
      items,
      total,
      currency,
      position,
      version: 1,
      ...this.#times,
      idempotencyKey: key!,
      occurredAt: this.#times.reservedAt,
      detail: decodeDetail(detail!),
      requestId: requestId!,
      traceparent: traceparent!,
    };
  }
}

function fieldsOf(line: string): string[] {
  const fields = line.split('\t');
  if (fields.length === LINE_FIELDS) return fields;
  throw malformed(`a short event has ${fields.length} fields, not ${LINE_FIELDS}: ${line}`);
}

function indexOf(basket: string): number {
  return basket === '' ? 0 : Number(basket) - 1;
}
