/**
 * The keys of a sale. All share the hash tag `{saleId}`, so that one shard owns them together.
 *
 *   sale    hash    the definition: name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds,
 *                   waitlistHoldSeconds (absent: as holdSeconds), skus
 *                   operation (last applied), operationOutcome
 *                   fence (run id of the server that may decide; empty: none), lastFence (the one that was cleared),
 *                   timeline (number of the history),
 *                   closing (closing id of the last recovery), closings (ids of those before it, since the sale was
 *                   open), wasPromoted (see close-sale.lua)
 *                   position (last given), gaps (skipped positions, see domain/positions.ts), tickets (last
 *                   waitlist ticket), indexed and indexing (see parts/waitlist-index.lua), events (number of the
 *                   last), drained (the last that was trimmed, which PostgreSQL has), hasShortRecords (1: new
 *                   reservations get short records; absent: the sale began in an earlier version)
 *                   or only fence, closing and `forgotten`: the server has lost the sale, and a recovery is in
 *                   progress, see close-sale.lua
 *                   or only fence (empty) and status `archived`: the marker of an archived sale, see mark-archived.lua
 *   stock   hash    <sku>:loaded :remaining :held :confirmed :waiting :smallestWaiting :price :perBuyerLimit
 *   buyers  hash    buyer -> the buyer's records, separated by LF; or a short record, see domain/short-record.ts; or an index
 *                   of many records, see parts/buyer-index.lua
 *   past    hash    the records of buyers with an index: buyer TAB position TAB -> record, buyer TAB TAB key -> position;
 *                   from earlier versions also buyer TAB position -> record, only of ended ones;
 *                   TAB position -> merchant note, see parts/merchant-note.lua
 *   terms   hash    what new reservations of a batch share, see domain/short-record.ts
 *   order   list    buyers in the order of decision: element p - 1 is the buyer of position p, apart from `gaps`
 *   holds   zset    deadline -> first-last position of the batch that shares it
 *   events  stream  the event log of the sale's reservations
 *   line    zset    the waitlists of all SKUs, in order of joining, see parts/waitlist-member.lua
 *   lineByQuantity
 *           zset    the same members, by SKU and quantity
 *   waiting hash    buyer TAB sku -> that buyer's member of `line`
 *
 * While a sale is rebuilt from PostgreSQL, the new buyers, past, order, holds, line and waiting are staged beside the old
 * ones; the sweep makes `lineByQuantity` afterwards. The hash `rebuild` stores which recovery stages them.
 */
/** The keys of scripts that change reservations, in their order. */
export const CHANGE_KEYS = [
  'sale',
  'stock',
  'buyers',
  'past',
  'terms',
  'order',
  'holds',
  'events',
] as const;
/** The keys of scripts that change the waitlist too. */
export const WAITLIST_KEYS = [...CHANGE_KEYS, 'line', 'lineByQuantity', 'waiting'] as const;
/** The keys of scripts that rebuild a sale, in their order. */
export const REBUILD_KEYS = [
  'rebuild',
  'newBuyers',
  'newPast',
  'newOrder',
  'newHolds',
  'newLine',
  'newWaiting',
] as const;
export const SALE_KEYS = [...WAITLIST_KEYS, ...REBUILD_KEYS] as const;
export type SaleKey = (typeof SALE_KEYS)[number];

export function saleKey(saleId: string, key: SaleKey): string {
  return `fs:{${saleId}}:${key}`;
}

/** The mark of the replication barrier, see redis/replication-barrier.ts. Not a part of the sale. */
export function markKey(saleId: string): string {
  return `fs:{${saleId}}:mark`;
}

/** The one consumer group of every events stream. */
export const PERSISTER_GROUP = 'persister';

/** Pub/sub: the ids of sales that an operator has just changed. Only a hint. */
export const CHANGED_CHANNEL = 'fs:changed';

/**
 * Pub/sub: the ids of sales for which a persister has something to do: the first event since all were drained, or a
 * client that found the sale closed. Also a hint.
 */
export const WORK_CHANNEL = 'fs:work';

/**
 * Pub/sub: the ids of sales that a hot path looked up and did not find open. Persisters write the markers of archived
 * sales that a server has lost. Only a hint.
 */
export const MISSED_CHANNEL = 'fs:missed';

/** Pub/sub: the event lines of one sale's reservations as they happen, as in the stream's `d`. Also a hint. */
export function liveChannel(saleId: string): string {
  return `${saleKey(saleId, 'sale')}:live`;
}

/** Pub/sub: the winners of purchases, from the hot path that they used, see domain/winner-announcement.ts. Also a hint. */
export function winnersChannel(saleId: string): string {
  return `${saleKey(saleId, 'sale')}:winners`;
}
