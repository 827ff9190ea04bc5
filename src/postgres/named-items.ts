/** SQL about events that name items: cancellations of a part, or of all that was left. See domain/transition-detail.ts. */
import { NAMED_ITEMS } from '../domain/transition-detail.ts';
import type { Sql, Transaction } from './connection.ts';

/** Whether an event cancelled a part of its reservation. `event`: the name of the table in the query. */
export function isPart(sql: Sql | Transaction, event: string) {
  return sql`(${sql(`${event}.status`)} <> 'cancelled' AND strpos(${sql(`${event}.detail`)}, ${NAMED_ITEMS}) > 0)`;
}

/** Rows (sku, quantity) of the items that an event names. */
export function namedItems(sql: Sql | Transaction, event: string) {
  return sql`jsonb_to_recordset(substring(${sql(`${event}.detail`)} FROM '"items":(\\[[^]]*\\])')::jsonb)`;
}

/**
 * Whether the hold of a row was extended. Only an extension or a cancelled part leads from reserved to a later version
 * that is also reserved.
 */
export function isExtended(sql: Sql | Transaction) {
  return sql`(status = 'reserved' AND version > 1 AND (NOT items @? '$[*].cancelled' OR EXISTS (
    SELECT FROM reservation_events extension
    WHERE extension.reservation_id = reservations.reservation_id AND extension.status = 'reserved'
      AND extension.version > 1 AND NOT ${isPart(sql, 'extension')})))`;
}
