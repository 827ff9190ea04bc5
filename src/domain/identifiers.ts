/**
 * The names that people send us, and their limits. Every process checks against these and no others.
 */
import { customAlphabet } from 'nanoid';

/** Lower-case so that it can stand in a URL, a Redis hash tag and a reservation id; no `_`, which separates. */
export const SALE_ID = /^[a-z0-9][a-z0-9-]{0,39}$/;
export const SKU = /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/;
/** Buyer ids and idempotency keys: visible ASCII, so neither TAB nor LF, which separate records in Redis. */
export const VISIBLE_ASCII_64 = /^[\x21-\x7e]{1,64}$/;
export const REQUEST_ID = /^[A-Za-z0-9._:+/=@-]{1,64}$/;
/** W3C Trace Context, version 00. */
export const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** A tag as ReservationAddress has it: drawn anew for each call that may give out reservations. */
export const newTag = customAlphabet(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789',
  8,
);

export const BODY_BYTES_MAX = 4096;
export const ITEMS_MAX = 10;
export const QUANTITY_MAX = 100;
export const SKUS_PER_SALE_MAX = 100;
/** Redis' Lua counts in doubles and PostgreSQL's `integer` ends at 2^31 - 1: stay well inside both. */
export const STOCK_MAX = 1_000_000_000;
export const PRICE_MAX = 1_000_000_000;
export const HOLD_SECONDS_MAX = 7 * 24 * 3600;

const RESERVATION_ID = /^([a-z0-9][a-z0-9-]{0,39})_([1-9][0-9]{0,11})_([A-Za-z0-9]{8})$/;

/** Where a reservation stands: its sale, its position there, and the batch's tag that tells timelines apart. */
export interface ReservationAddress {
  saleId: string;
  position: number;
  tag: string;
}

/**
 * `phones_1042_V1StGXR8`: the sale routes it to its shard, the position finds it there, and the tag, drawn anew
 * for each batch, keeps it from being mistaken for another decision that once had the same position.
 */
export function reservationIdOf(address: ReservationAddress): string {
  return `${address.saleId}_${address.position}_${address.tag}`;
}

export function parseReservationId(reservationId: string): ReservationAddress | undefined {
  const match = RESERVATION_ID.exec(reservationId);
  if (!match) return undefined;
  return { saleId: match[1]!, position: Number(match[2]), tag: match[3]! };
}
