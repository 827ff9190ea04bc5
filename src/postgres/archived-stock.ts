/** The counts of archived sales: loaded as the ledger says, confirmed as counted since the archive, nothing held. */
import type { SkuStock } from '../domain/sale.ts';
import type { Sql, Transaction } from './connection.ts';

export async function readArchivedStock(
  sql: Sql | Transaction,
  saleIds: readonly string[],
): Promise<Map<string, SkuStock[]>> {
  const stock = new Map<string, SkuStock[]>(saleIds.map((saleId) => [saleId, []]));
  if (saleIds.length === 0) return stock;
  const rows = await sql<{ saleId: string; sku: string; loaded: number; confirmed: number }[]>`
    SELECT sale_id, sku, coalesce(archived_confirmed, 0)::bigint AS confirmed,
      coalesce((SELECT sum(delta) FROM stock_ledger l
        WHERE l.sale_id = s.sale_id AND l.sku = s.sku AND outcome = 'applied'), 0)::bigint AS loaded
    FROM sale_skus s WHERE sale_id = ANY(${sql.array([...saleIds])}) ORDER BY sale_id, ordinal`;
  for (const { saleId, sku, loaded, confirmed } of rows) {
    const remaining = loaded - confirmed;
    stock
      .get(saleId)!
      .push({ sku, loaded, remaining, held: 0, confirmed, waiting: 0, smallestWaiting: 0 });
  }
  return stock;
}
