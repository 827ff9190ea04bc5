/**
 * A sale's reservations as PostgreSQL has them, in the order of their positions. Each comes as one text: a value of a
 * row costs postgres.js, and a Date or a JSON document costs Node, more than all that is done with it here.
 */

import type { PricedItem, ReservationStatus } from '../../domain/reservation.ts';
import { formatItems, formatPrices } from '../../domain/reservation-codec.ts';
import type { Transaction } from '../../postgres/connection.ts';

/** Enough that asking for the next ones costs little, and few enough that PostgreSQL doesn't wait long to be asked. */
const PAGE = 2_000;
const BASKETS_MAX = 1_000;

export interface ReservationRow {
  buyerId: string;
  status: ReservationStatus;
  basket: Basket;
  position: number;
  tag: string;
  version: number;
  idempotencyKey: string;
  reservedAtMs: string;
  expiresAtMs: string;
}

export interface Basket {
  items: readonly PricedItem[];
  /** As records have them, see domain/reservation-codec.ts. */
  itemsText: string;
  pricesText: string;
}

/** In portions; while one is used the next one is on its way. */
export async function* readRows(
  transaction: Transaction,
  saleId: string,
): AsyncGenerator<ReservationRow[]> {
  const baskets = new Map<string, Basket>();
  let next = readPage(transaction, saleId, 0);
  for (;;) {
    const page = await next;
    if (page.length === 0) return;
    const rows = page.map(({ row }) => parseRow(row, baskets));
    next = readPage(transaction, saleId, rows.at(-1)!.position);
    // Whoever awaits it gets the error; nobody may, and then it must not count as unhandled.
    next.catch(() => undefined);
    yield rows;
  }
}

// No value has a TAB in it, and none is null.
async function readPage(
  transaction: Transaction,
  saleId: string,
  after: number,
): Promise<{ row: string }[]> {
  return transaction<{ row: string }[]>`
    SELECT concat_ws(E'\t', position, version, status, buyer_id, split_part(reservation_id, '_', 3), items,
      (extract(epoch FROM reserved_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint,
      idempotency_key) AS row
    FROM reservations WHERE sale_id = ${saleId} AND position > ${after}
    ORDER BY position LIMIT ${PAGE}`;
}

function parseRow(text: string, baskets: Map<string, Basket>): ReservationRow {
  const [position, version, status, buyerId, tag, items, reservedAtMs, expiresAtMs, key] =
    text.split('\t') as [string, string, ReservationStatus, ...string[]];
  return {
    buyerId: buyerId!,
    status,
    basket: basketOf(items!, baskets),
    position: Number(position),
    tag: tag!,
    version: Number(version),
    idempotencyKey: key!,
    reservedAtMs: reservedAtMs!,
    expiresAtMs: expiresAtMs!,
  };
}

/** Most of a sale asks for the same few. */
function basketOf(json: string, baskets: Map<string, Basket>): Basket {
  let basket = baskets.get(json);
  if (!basket) {
    const items = JSON.parse(json) as PricedItem[];
    basket = {
      items,
      itemsText: formatItems(items),
      pricesText: formatPrices(items),
    };
    if (baskets.size >= BASKETS_MAX) baskets.clear();
    baskets.set(json, basket);
  }
  return basket;
}
