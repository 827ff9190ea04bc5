/**
 * Identifiers and amounts that clients send, and their limits. Every process checks against these and no others.
 */
import { customAlphabet } from 'nanoid';

/** Lower case, because it is part of URLs, Redis hash tags and reservation ids; no `_`, the separator of the latter. */
export const SALE_ID = /^[a-z0-9][a-z0-9-]{0,39}$/;
export const SKU = /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/;
/** Buyer ids and idempotency keys: visible ASCII, so they contain neither TAB nor LF, the separators of records in Redis. */
export const VISIBLE_ASCII_64 = /^[\x21-\x7e]{1,64}$/;

/**
 * The value of a header that names one key. Proxies may join repeated headers by commas, so a list that has a key twice is
 * a repeated header.
 */
export function isIdempotencyKey(value: string): boolean {
  if (!VISIBLE_ASCII_64.test(value)) return false;
  if (!value.includes(',')) return true;
  const keys = value.split(',');
  return new Set(keys).size === keys.length;
}

export const REQUEST_ID = /^[A-Za-z0-9._:+/=@-]{1,64}$/;
/** W3C Trace Context, version 00. */
export const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The `tag` of a ReservationAddress: a new random one for each call that may make reservations. */
export const newTag = customAlphabet(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789',
  8,
);

export const BODY_BYTES_MAX = 4096;
export const ITEMS_MAX = 10;
export const QUANTITY_MAX = 100;
export const SKUS_PER_SALE_MAX = 100;
/** PostgreSQL's `integer` ends at 2^31 - 1. */
export const STOCK_MAX = 1_000_000_000;
/** Minor units. The total of the largest basket, 10 items of 100 units, is 10^15 and so below 2^53. */
export const PRICE_MAX = 1_000_000_000_000;
/** Of one buyer in a sale, in addition to the limit of units; LIVING_MAX of lua/parts/buyers.lua. */
export const LIVING_RESERVATIONS_MAX = 20;
export const HOLD_SECONDS_MAX = 7 * 24 * 3600;

const RESERVATION_ID = /^([a-z0-9][a-z0-9-]{0,39})_([1-9][0-9]{0,15})_([A-Za-z0-9]{8})$/;

/** Identifies a reservation: its sale, its position there, and the tag of its batch, which differs between timelines. */
export interface ReservationAddress {
  saleId: string;
  position: number;
  tag: string;
}

/**
 * `phones_1042_V1StGXR8`: the sale routes to the shard, the position finds the reservation there, and the random tag of
 * its batch distinguishes it from a lost decision that had the same position.
 */
export function reservationIdOf(address: ReservationAddress): string {
  return `${address.saleId}_${address.position}_${address.tag}`;
}

export function parseReservationId(reservationId: string): ReservationAddress | undefined {
  const match = RESERVATION_ID.exec(reservationId);
  const position = Number(match?.[2]);
  if (!match || !Number.isSafeInteger(position)) return undefined;
  return { saleId: match[1]!, position, tag: match[3]! };
}
