/**
 * The keys of a sale. All share the hash tag `{saleId}`, so that one shard owns them together.
 *
 *   sale    hash    the definition: name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds, skus
 *                   operation (last applied), operationOutcome
 *                   fence (run id of the server that may decide; empty: none), timeline (which line of
 *                   decisions), closing (the recovery that has it closed, by name), wasPromoted (see
 *                   parts/promotion.lua)
 *                   position (last given), gaps (positions left out, see domain/positions.ts), tickets (last given
 *                   in a line), events (last numbered), drained (the last that PostgreSQL has)
 *                   or nothing but fence, closing and `forgotten`: a recovery is under way of a sale that the server has lost,
 *                   see close-sale.lua
 *   stock   hash    <sku>:loaded :remaining :held :confirmed :waiting :price
 *   buyers  hash    buyer -> the buyer's records, separated by LF
 *   order   list    buyers in the order of decision: element p - 1 is who got position p, but for `gaps` of the sale
 *   holds   zset    deadline -> first-last position of the batch that shares it
 *   events  stream  the log of everything that happened to the sale's reservations
 *   line    zset    who waits for a SKU, in order of joining, see parts/waitlist.lua
 *   waiting hash    buyer TAB sku -> that buyer's member of the line
 *
 * While a sale is rebuilt from PostgreSQL, what will take the place of buyers, order, holds, line and waiting is kept
 * beside them, with `rebuild`, a hash, saying whose it is.
 */
const LIVING_KEYS = [
  'sale',
  'stock',
  'buyers',
  'order',
  'holds',
  'events',
  'line',
  'waiting',
] as const;
const STAGED_KEYS = [
  'rebuild',
  'newBuyers',
  'newOrder',
  'newHolds',
  'newLine',
  'newWaiting',
] as const;
export const SALE_KEYS = [...LIVING_KEYS, ...STAGED_KEYS] as const;
export type SaleKey = (typeof SALE_KEYS)[number];

export function saleKey(saleId: string, key: SaleKey): string {
  return `fs:{${saleId}}:${key}`;
}

/** What scripts that change a sale read and write, in their order. */
export const CHANGE_KEYS: readonly SaleKey[] = LIVING_KEYS;
/** What scripts that rebuild a sale read and write, in their order. */
export const REBUILD_KEYS: readonly SaleKey[] = STAGED_KEYS;

/** What a process writes to learn how far replication is, see redis/replication-barrier.ts. Not a part of the sale. */
export function markKey(saleId: string): string {
  return `fs:{${saleId}}:mark`;
}

/** The one consumer group of every events stream. */
export const PERSISTER_GROUP = 'persister';

/** Pub/sub: the ids of sales whose definition or stock just changed by an operator. A hint, nothing more. */
export const CHANGED_CHANNEL = 'fs:changed';

/** Pub/sub: the events of one sale's reservations, as they happen, in the form of the stream's `d`. A hint too. */
export function liveChannel(saleId: string): string {
  return `${saleKey(saleId, 'sale')}:live`;
}
