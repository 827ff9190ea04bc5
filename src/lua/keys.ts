/**
 * The keys of a sale. All share the hash tag `{saleId}`, so that one shard owns them together.
 *
 *   sale    hash    definition, fence, counters: position (last given), events (last numbered), drained
 *   stock   hash    <sku>:loaded :remaining :held :confirmed :price
 *   buyers  hash    buyer -> the buyer's records, separated by LF
 *   order   list    buyers in the order of decision: element p - 1 is who got position p
 *   holds   zset    deadline -> first-last position of the batch that shares it
 *   events  stream  the log of everything that happened to the sale's reservations
 */
export const SALE_KEYS = ['sale', 'stock', 'buyers', 'order', 'holds', 'events'] as const;
export type SaleKey = (typeof SALE_KEYS)[number];

export function saleKey(saleId: string, key: SaleKey): string {
  return `fs:{${saleId}}:${key}`;
}

/** The one consumer group of every events stream. */
export const PERSISTER_GROUP = 'persister';

/** Pub/sub: the ids of sales whose definition or stock just changed by an operator. A hint, nothing more. */
export const CHANGED_CHANNEL = 'fs:changed';
