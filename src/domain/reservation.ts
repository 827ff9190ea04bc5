/**
 * A reservation: a promise of stock to one buyer, with a deadline. And the two forms it travels in: the
 * record, as Redis keeps it under its buyer, and the event, as the stream carries it to PostgreSQL.
 *
 * Record, fields separated by TAB:
 *   version status position tag items prices reservedAt expiresAt key
 * Event, one line, the record followed by what only history needs:
 *   … buyerId occurredAt detail requestId traceparent
 *
 * `status` is one letter, `items` is `sku*quantity,…` sorted by SKU, `prices` are the unit prices in the same
 * order, times are milliseconds since the epoch. No field can hold a TAB or LF (see identifiers.ts); `detail`,
 * the one free text, is percent-encoded.
 */
import { Fault, unreachable } from './fault.ts';
import { reservationIdOf } from './identifiers.ts';

/** The last time that a Date can hold, ms: what is beyond it can't be shown, nor written to PostgreSQL. */
const TIME_MAX = 8.64e15;

export const RESERVATION_STATUSES = ['reserved', 'confirmed', 'cancelled', 'expired'] as const;
export type ReservationStatus = (typeof RESERVATION_STATUSES)[number];

/** `P` is reserved too: with its one extension, for a payment under way. */
const STATUS_OF_LETTER: Record<string, ReservationStatus> = {
  R: 'reserved',
  P: 'reserved',
  C: 'confirmed',
  X: 'cancelled',
  E: 'expired',
};

/** Nothing but its extension leads from reserved to a later version that is reserved. */
function letterOf(status: ReservationStatus, version: number): string {
  switch (status) {
    case 'reserved':
      return version === 1 ? 'R' : 'P';
    case 'confirmed':
      return 'C';
    case 'cancelled':
      return 'X';
    case 'expired':
      return 'E';
    default:
      return unreachable(status);
  }
}

/**
 * Every move that there is: from which states, to which, and who may ask for it. Scripts, APIs and documentation
 * take it from here. Leaving `reserved` or `confirmed` for good gives the units back, in the same step.
 */
export const RESERVATION_TRANSITIONS = {
  confirm: { from: 'RP', to: 'C' },
  /** By the merchant: gives back what was held, or refunds what was confirmed. */
  cancel: { from: 'RPC', to: 'X' },
  /** By the buyer: what is paid for is not given back by pressing a button. */
  'give-back': { from: 'RP', to: 'X' },
  /** Once, by as long again as holds of the sale last. */
  extend: { from: 'R', to: 'P' },
  /** By the sweep, when the hold's time is over. */
  expire: { from: 'RP', to: 'E' },
} as const satisfies Record<string, { from: string; to: string }>;
export type ReservationTransition = keyof typeof RESERVATION_TRANSITIONS;

/** The state a move leads to, in words. */
export function statusAfter(move: ReservationTransition): ReservationStatus {
  return STATUS_OF_LETTER[RESERVATION_TRANSITIONS[move].to]!;
}

export interface Item {
  sku: string;
  quantity: number;
}

export interface PricedItem extends Item {
  /** Minor units. */
  unitPrice: number;
}

export interface Reservation {
  reservationId: string;
  saleId: string;
  buyerId: string;
  status: ReservationStatus;
  items: readonly PricedItem[];
  total: number;
  currency: string;
  position: number;
  /** 1 when reserved, one more for each transition. */
  version: number;
  reservedAt: number;
  expiresAt: number;
  /** Empty: the buyer sent none, so the buyer is the key. */
  idempotencyKey: string;
}

export interface ReservationEvent extends Reservation {
  occurredAt: number;
  detail: string;
  requestId: string;
  traceparent: string;
}

/** The reservation as both APIs show it. */
export interface PublicReservation {
  reservationId: string;
  saleId: string;
  buyerId: string;
  status: ReservationStatus;
  items: readonly PricedItem[];
  total: number;
  currency: string;
  position: number;
  reservedAt: string;
  expiresAt: string;
}

/** One form for one basket, so that equal baskets are equal strings. */
export function canonicalItems(items: readonly Item[]): string {
  if (items.length === 1) return `${items[0]!.sku}*${items[0]!.quantity}`;
  return [...items]
    .sort((a, b) => (a.sku < b.sku ? -1 : 1))
    .map((item) => `${item.sku}*${item.quantity}`)
    .join(',');
}

export function parseRecord(
  record: string,
  sale: { saleId: string; currency: string },
  buyerId: string,
): Reservation {
  return fromFields(record.split('\t'), record, sale, buyerId);
}

/** The record of a reservation as PostgreSQL has it: the opposite of `parseRecord`. */
export function formatRecord(row: {
  version: number;
  status: ReservationStatus;
  position: number;
  tag: string;
  /** `items` and `prices` as records have them. */
  basket: { itemsText: string; pricesText: string };
  reservedAtMs: string;
  expiresAtMs: string;
  idempotencyKey: string;
}): string {
  return [
    row.version,
    letterOf(row.status, row.version),
    row.position,
    row.tag,
    row.basket.itemsText,
    row.basket.pricesText,
    row.reservedAtMs,
    row.expiresAtMs,
    row.idempotencyKey,
  ].join('\t');
}

export function parseEvent(
  line: string,
  sale: { saleId: string; currency: string },
): ReservationEvent {
  const fields = line.split('\t');
  if (fields.length !== 14) {
    throw new Fault('reply_malformed', `an event has ${fields.length} fields, not 14: ${line}`);
  }
  const reservation = fromFields(fields, line, sale, fields[9]!);
  const occurredAt = wholeNumber(fields[10]!, line);
  for (const time of [reservation.reservedAt, reservation.expiresAt, occurredAt]) {
    if (Math.abs(time) > TIME_MAX) {
      throw new Fault('reply_malformed', `${time} is not a time in: ${line}`);
    }
  }
  return {
    ...reservation,
    occurredAt,
    detail: fields[11] === '' ? '' : decodeURIComponent(fields[11]!),
    requestId: fields[12]!,
    traceparent: fields[13]!,
  };
}

export function publicReservation(reservation: Reservation): PublicReservation {
  return {
    reservationId: reservation.reservationId,
    saleId: reservation.saleId,
    buyerId: reservation.buyerId,
    status: reservation.status,
    items: reservation.items,
    total: reservation.total,
    currency: reservation.currency,
    position: reservation.position,
    reservedAt: new Date(reservation.reservedAt).toISOString(),
    expiresAt: new Date(reservation.expiresAt).toISOString(),
  };
}

interface Basket {
  items: readonly PricedItem[];
  total: number;
}

/** The last one that was taken apart: nearly everybody wants the same. */
let lastBasket: (Basket & { itemsText: string; pricesText: string }) | undefined;

function basketOf(itemsText: string, pricesText: string, source: string): Basket {
  if (lastBasket?.itemsText === itemsText && lastBasket.pricesText === pricesText) {
    return lastBasket;
  }
  const prices = pricesText.split(',');
  const items = itemsText.split(',').map((item, index) => {
    const star = item.indexOf('*');
    return {
      sku: item.slice(0, star),
      quantity: wholeNumber(item.slice(star + 1), source),
      unitPrice: wholeNumber(prices[index] ?? '', source),
    };
  });
  let total = 0;
  for (const item of items) total += item.quantity * item.unitPrice;
  lastBasket = { itemsText, pricesText, items, total };
  return lastBasket;
}

function fromFields(
  fields: string[],
  source: string,
  sale: { saleId: string; currency: string },
  buyerId: string,
): Reservation {
  const status = STATUS_OF_LETTER[fields[1] ?? ''];
  if (status === undefined || fields.length < 9) {
    throw new Fault('reply_malformed', `not a reservation record: ${source}`);
  }
  const position = wholeNumber(fields[2]!, source);
  const { items, total } = basketOf(fields[4]!, fields[5]!, source);
  return {
    reservationId: reservationIdOf({ saleId: sale.saleId, position, tag: fields[3]! }),
    saleId: sale.saleId,
    buyerId,
    status,
    items,
    total,
    currency: sale.currency,
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
    throw new Fault('reply_malformed', `"${text}" is not a whole number in: ${source}`);
  }
  return value;
}
