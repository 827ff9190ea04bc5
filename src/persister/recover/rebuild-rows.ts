/**
 * Reads a sale's reservations from PostgreSQL in the order of their positions. Each row is one text, because parsing
 * separate columns, dates and JSON would cost more than the rest of the rebuild.
 */
import type { PricedItem, ReservationStatus } from '../../domain/reservation.ts';
import { formatItems, formatPrices, type RecordRow } from '../../domain/reservation-codec.ts';
import type { Transaction } from '../../postgres/connection.ts';
import { isExtended } from '../../postgres/named-items.ts';

/** Large enough to hide the round trip, small enough that PostgreSQL's transaction is never idle for long. */
const PAGE = 2_000;
const BASKETS_MAX = 1_000;

type Basket = RecordRow['basket'] & { items: readonly PricedItem[] };

export interface ReservationRow extends RecordRow {
  buyerId: string;
  basket: Basket;
}

/** Returns pages; the next one is read while the caller uses the current one. */
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
    // The next iteration gets the error. If there is none, the rejection must not count as unhandled.
    next.catch(() => undefined);
    yield rows;
  }
}

// No value contains a TAB, and none is null.
async function readPage(
  transaction: Transaction,
  saleId: string,
  after: number,
): Promise<{ row: string }[]> {
  return transaction<{ row: string }[]>`
    SELECT concat_ws(E'\t', position, version, status, buyer_id, split_part(reservation_id, '_', 3), items,
      (extract(epoch FROM reserved_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint,
      idempotency_key, ${isExtended(transaction)}) AS row
    FROM reservations WHERE sale_id = ${saleId} AND position > ${after}
    ORDER BY position LIMIT ${PAGE}`;
}

function parseRow(text: string, baskets: Map<string, Basket>): ReservationRow {
  const [position, version, status, buyerId, tag, items, reservedAtMs, expiresAtMs, key, extended] =
    text.split('\t') as [string, string, ReservationStatus, ...string[]];
  return {
    buyerId: buyerId!,
    status,
    isExtended: extended === 't',
    basket: basketOf(items!, baskets),
    position: Number(position),
    tag: tag!,
    version: Number(version),
    idempotencyKey: key!,
    reservedAtMs: reservedAtMs!,
    expiresAtMs: expiresAtMs!,
  };
}

/** Most buyers of a sale choose among a few baskets. */
function basketOf(json: string, baskets: Map<string, Basket>): Basket {
  const known = baskets.get(json);
  if (known) return known;
  const items = JSON.parse(json) as PricedItem[];
  const basket = { items, itemsText: formatItems(items), pricesText: formatPrices(items) };
  if (baskets.size >= BASKETS_MAX) baskets.clear();
  baskets.set(json, basket);
  return basket;
}
