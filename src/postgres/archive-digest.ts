/**
 * The digest of an archived sale: a sum of hashes over its rows, without what can still change by itself. No other server
 * has these rows, so `verify` compares them with the digest. A change within the rules moves the digest by the difference
 * of the rows that it touched; a damaged row elsewhere therefore stays visible.
 */
import type { Sql, Transaction } from './connection.ts';

/** Of all reservations, or of some; the definition, the operations and the ledger of the sale are always included. */
export async function digestOf(
  sql: Sql | Transaction,
  saleId: string,
  reservationIds?: readonly string[],
): Promise<string> {
  const some =
    reservationIds === undefined
      ? sql``
      : sql`AND reservation_id = ANY(${sql.array([...reservationIds])})`;
  const epoch = (column: string) => sql`extract(epoch FROM ${sql(column)})`;
  const [row] = await sql<{ digest: string }[]>`
    SELECT coalesce(sum(hashtextextended(line, 0)::numeric), 0)::text AS digest FROM (
      SELECT ROW('reservation', reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
        idempotency_key, ${epoch('reserved_at')}, ${epoch('expires_at')}, ${epoch('updated_at')}, request_id,
        traceparent)::text AS line
      FROM reservations WHERE sale_id = ${saleId} ${some}
      UNION ALL
      SELECT ROW('event', reservation_id, version, sale_id, event, status, ${epoch('occurred_at')}, detail, request_id,
        traceparent)::text
      FROM reservation_history WHERE sale_id = ${saleId} ${some}
      UNION ALL
      SELECT ROW('sale', sale_id, name, currency, status, ${epoch('starts_at')}, ${epoch('ends_at')}, per_buyer_limit,
        hold_seconds, last_operation, ${epoch('created_at')}, timeline, position_floor, ${epoch('archived_at')})::text
      FROM sales WHERE sale_id = ${saleId}
      UNION ALL
      SELECT ROW('sku', sku, ordinal, name, price, archived_confirmed)::text FROM sale_skus WHERE sale_id = ${saleId}
      UNION ALL
      -- Lines of their own: sales that were archived before SKUs had limits, or the waitlist holds, keep their digests.
      SELECT ROW('sku limit', sku, per_buyer_limit)::text FROM sale_skus
      WHERE sale_id = ${saleId} AND per_buyer_limit IS NOT NULL
      UNION ALL
      SELECT ROW('waitlist hold', waitlist_hold_seconds)::text FROM sales
      WHERE sale_id = ${saleId} AND waitlist_hold_seconds IS NOT NULL
      UNION ALL
      SELECT ROW('operation', operation, action, definition, changes, outcome, actor, request_id, idempotency_key,
        request_digest, ${epoch('created_at')})::text
      FROM sale_operations WHERE sale_id = ${saleId}
      UNION ALL
      SELECT ROW('stock', operation, sku, delta, reason, outcome, loaded_after, remaining_after)::text
      FROM stock_ledger WHERE sale_id = ${saleId} AND operation IS NOT NULL
      UNION ALL
      SELECT ROW('withdrawal', event, sku, delta, reason, outcome, loaded_after, remaining_after)::text
      FROM stock_ledger WHERE sale_id = ${saleId} AND event IS NOT NULL
      UNION ALL
      SELECT ROW('checkpoint', event)::text FROM checkpoints WHERE sale_id = ${saleId}
    ) lines`;
  return row!.digest;
}

/** Changes some reservations of an archived sale, and its digest by as much. */
export async function changeWithDigest<T>(
  transaction: Transaction,
  saleId: string,
  reservationIds: readonly string[],
  change: () => Promise<T>,
): Promise<T> {
  const before = await digestOf(transaction, saleId, reservationIds);
  const result = await change();
  const after = await digestOf(transaction, saleId, reservationIds);
  await transaction`
    UPDATE sales SET archive_digest = archive_digest - ${before}::text::numeric + ${after}::text::numeric
    WHERE sale_id = ${saleId}`;
  return result;
}
