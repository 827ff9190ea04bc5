/**
 * 409 responses that say how much a buyer can have. Most refused buyers of a sale request the same baskets, so these
 * responses are prepared once and kept.
 */
import { LRUCache } from 'lru-cache';
import { parseItems } from '../../domain/reservation-codec.ts';
import { type PreparedResponse, problemResponse } from '../http/responses.ts';

const PREPARED_MAX = 1_000;

export type Shortage = 'sold_out' | 'insufficient_stock';

const prepared: Readonly<Record<Shortage, LRUCache<string, PreparedResponse>>> = {
  sold_out: new LRUCache({ max: PREPARED_MAX }),
  insufficient_stock: new LRUCache({ max: PREPARED_MAX }),
};

/** `items` is canonical; `available` has the units of each item that the buyer could get, as `n,…` in the same order. */
export function shortageResponse(
  code: Shortage,
  items: string,
  available: string,
): PreparedResponse {
  // The most frequent case needs no new text.
  const key = available === '0' ? items : `${items} ${available}`;
  let response = prepared[code].get(key);
  if (!response) {
    const counts = available.split(',').map(Number);
    const short = parseItems(items)
      .map(({ sku, quantity }, index) => ({
        sku,
        requested: quantity,
        available: counts[index] ?? 0,
      }))
      .filter((item) => item.available < item.requested);
    response = problemResponse(code, { items: short });
    prepared[code].set(key, response);
  }
  return response;
}

/** `remaining`: units that the limit still allows the buyer; `sku`: whose limit it is; empty: the sale's. */
export function limitReachedResponse(
  reached: { limit: number; remaining: number; sku: string },
  more: Record<string, unknown> = {},
): PreparedResponse {
  const { limit, remaining, sku } = reached;
  return problemResponse('limit_reached', {
    limit,
    remainingAllowance: remaining,
    ...(sku !== '' && { sku }),
    ...more,
  });
}
