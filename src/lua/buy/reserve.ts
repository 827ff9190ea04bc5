/** Decides a batch of buyers of one sale in one atomic call. The contract is the header of reserve.lua. */
import type { Fault } from '../../domain/fault.ts';
import { memoizeLast } from '../../domain/memoize-last.ts';
import { newRecord, parseItems, recordTerms } from '../../domain/reservation-codec.ts';
import { shortLine } from '../../domain/short-record.ts';
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed } from '../script.ts';

export interface ReserveRequest {
  buyerId: string;
  /** Empty: the buyer sent none. */
  idempotencyKey: string;
  /** Canonical, see domain/reservation-codec.ts. */
  items: string;
  requestId: string;
  traceparent: string;
}

const REFUSALS = [
  'key_reused',
  'sale_not_started',
  'sale_paused',
  'sale_ended',
  'overloaded',
  'unknown_sale',
  'recovering',
] as const;
type ReserveRefusal = (typeof REFUSALS)[number];
const REFUSAL_SET: ReadonlySet<string> = new Set(REFUSALS);

export type ReserveOutcome =
  | Reserved
  | { outcome: 'replayed'; record: string }
  /** The buyer is in a cool-down until then, by Redis' clock. */
  | { outcome: 'too_many_holds'; untilMs: number }
  /** `available`: how many units of each item the buyer could get, as `n,…` in the order of `items`. */
  | { outcome: 'sold_out' | 'insufficient_stock'; available: string }
  /** `remaining`: units that the limit still allows; `sku`: whose limit it is; empty: the sale's. */
  | { outcome: 'limit_reached'; limit: number; remaining: number; sku: string }
  | { outcome: 'unknown_sku'; skus: string[] }
  /** The buyer's records are damaged, or the script's line is. */
  | { outcome: 'unreadable'; fault: Fault }
  /** Holds are past their deadline and not ended: end them, then ask again. See redis/due-holds.ts. */
  | { outcome: 'holds_due' }
  | { outcome: ReserveRefusal };

/** What a purchase gets in the end. */
export type ReserveDecision = Exclude<ReserveOutcome, { outcome: 'holds_due' }>;

/** Where the first reservation of a call is in the sale's order; the others follow it. */
export interface OrderPlace {
  timeline: number;
  /** From 0. */
  ordinal: number;
}

/** A reservation that this call has made. */
export class Reserved {
  readonly outcome = 'reserved';
  /** The place of the first one of the call. */
  readonly firstPlace: OrderPlace;
  readonly position: number;
  /** The record's fields between position and key. */
  readonly terms: string;
  readonly idempotencyKey: string;

  constructor(firstPlace: OrderPlace, position: number, terms: string, idempotencyKey: string) {
    this.firstPlace = firstPlace;
    this.position = position;
    this.terms = terms;
    this.idempotencyKey = idempotencyKey;
  }

  get record(): string {
    return newRecord(this.position, this.terms, this.idempotencyKey);
  }
}

export const reserve = defineScript({
  source: new URL('reserve.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'tag backlogMax requests',
  encode(batch: Batch) {
    const baskets = new Baskets();
    const count = packedCount(batch.requests.length);
    let [buyers, keys, indexes, lines] = [count, count, count, count];
    for (const request of batch.requests) {
      buyers += packedText(request.buyerId);
      keys += packedText(request.idempotencyKey);
      indexes += packedIndex(baskets.indexOf(request.items));
      lines += packedText(shortLine(request));
    }
    if (baskets.size === 1) indexes = packedCount(0);
    const packed = baskets.packed + buyers + keys + indexes + lines;
    return [batch.tag, batch.backlogMax, Buffer.from(packed, 'latin1')];
  },
  decode([reply], _saleId, batch) {
    if (typeof reply !== 'string') return undefined;
    const [first = '', ...lines] = reply.split('\n');
    return lines.length === batch.requests.length ? outcomesOf(first, lines, batch) : undefined;
  },
});

interface Batch {
  tag: string;
  backlogMax: number;
  requests: readonly ReserveRequest[];
}

/** The different baskets of a batch, and their SKUs. */
class Baskets {
  readonly #indexes = new Map<string, number>();
  readonly #skus = new Map<string, number>();
  #packedBaskets = '';
  #packedSkus = '';
  #last = { items: '', index: 0 };

  /** Measured: comparing with the last basket first takes 8 ns instead of 30. */
  indexOf(items: string): number {
    if (items === this.#last.items) return this.#last.index;
    const index = this.#indexes.get(items) ?? this.#add(items);
    this.#last = { items, index };
    return index;
  }

  get size(): number {
    return this.#indexes.size;
  }

  get packed(): string {
    const skus = packedCount(this.#skus.size) + this.#packedSkus;
    return skus + packedCount(this.size * 2) + this.#packedBaskets;
  }

  #add(items: string): number {
    const parsed = parseItems(items);
    const skus = parsed.map(({ sku }) => this.#numberOf(sku));
    const code = [
      parsed.length,
      ...(skus.some((number) => number > 255)
        ? skus.flatMap((number) => [number >> 8, number & 255])
        : skus),
      ...parsed.map(({ quantity }) => quantity),
    ];
    this.#packedBaskets += packedText(items) + packedText(String.fromCharCode(...code));
    const index = this.#indexes.size;
    this.#indexes.set(items, index);
    return index;
  }

  #numberOf(sku: string): number {
    const known = this.#skus.get(sku);
    if (known !== undefined) return known;
    this.#packedSkus += packedText(sku);
    const number = this.#skus.size + 1;
    this.#skus.set(sku, number);
    return number;
  }
}

const RESERVED = 'reserved\t';
const REPLAYED = 'replayed\t';
const SOLD_OUT: ReserveOutcome = { outcome: 'sold_out', available: '0' };

function outcomesOf(first: string, lines: readonly string[], batch: Batch): ReserveOutcome[] {
  const [firstPosition, reservedAt = '', expiresAt = '', ...place] = first.split('\t');
  let position = Number(firstPosition);
  const [timeline = Number.NaN, ordinal = Number.NaN] = place.map(Number);
  const firstPlace = { timeline, ordinal };
  if (!Number.isSafeInteger(position)) throw malformed('reserve', first);
  // One text for equal baskets: measured 0.4 µs less for each reservation, since its users compare it by identity.
  const termsOf = memoizeLast((line: string, items: string) =>
    recordTerms(batch.tag, items, line.slice(RESERVED.length), reservedAt, expiresAt),
  );
  return lines.map((line, index) => {
    if (line.startsWith(RESERVED)) {
      const { items, idempotencyKey } = batch.requests[index]!;
      return new Reserved(firstPlace, position++, termsOf(line, items), idempotencyKey);
    }
    if (line.startsWith(REPLAYED)) {
      return { outcome: 'replayed', record: line.slice(REPLAYED.length) };
    }
    if (line === 'sold_out') return SOLD_OUT;
    return refusalOf(line);
  });
}

function refusalOf(line: string): ReserveOutcome {
  const [outcome = '', first = '', second = '', third = ''] = line.split('\t');
  switch (outcome) {
    case 'sold_out':
    case 'insufficient_stock':
      return { outcome, available: first };
    case 'limit_reached':
      return { outcome, limit: Number(first), remaining: Number(second), sku: third };
    case 'too_many_holds':
      return { outcome, untilMs: Number(first) };
    case 'unknown_sku':
      return { outcome, skus: first.split(',') };
    case 'holds_due':
      return { outcome };
    default:
      // One line fails its buyer only: the other decisions are valid.
      if (REFUSAL_SET.has(line)) return { outcome: line as ReserveRefusal };
      return { outcome: 'unreadable', fault: malformed('reserve', line) };
  }
}

/**
 * MessagePack is written by hand because @msgpack/msgpack takes 6.2 times as long: 470 against 76 µs for a batch of 100.
 * These are the heads, type and length, of texts under 256 characters.
 */
const HEADS = Array.from({ length: 256 }, (_, length) =>
  length < 32 ? String.fromCharCode(0xa0 + length) : String.fromCharCode(0xd9, length),
);

/** Characters up to 255, at most 65,535 of them. */
function packedText(text: string): string {
  const { length } = text;
  return (
    (length < 256 ? HEADS[length] : String.fromCharCode(0xda, length >> 8, length & 255)) + text
  );
}

/** From 0 to 65,535, as are counts. */
function packedIndex(index: number): string {
  return index < 128
    ? String.fromCharCode(index)
    : String.fromCharCode(0xcd, index >> 8, index & 255);
}

/** A batch has at most 256 requests. */
function packedCount(count: number): string {
  return String.fromCharCode(0xdc, count >> 8, count & 255);
}
