/** The definition of a sale in the tables that people query, and its correction after a refused operation. */
import { type SaleDefinition, withoutRefused } from '../domain/sale.ts';
import type { Sql, Transaction } from './connection.ts';

/** Writes the definition after an operation, and the operation's number. */
export async function writeDefinition(
  tx: Transaction,
  definition: SaleDefinition,
  operation: number,
): Promise<void> {
  const { saleId, skus } = definition;
  await tx`
    UPDATE sales SET name = ${definition.name}, status = ${definition.status},
      starts_at = ${timeOf(definition.startsAt)}, ends_at = ${timeOf(definition.endsAt)},
      per_buyer_limit = ${definition.perBuyerLimit}, hold_seconds = ${definition.holdSeconds},
      waitlist_hold_seconds = ${definition.waitlistHoldSeconds ?? null}, last_operation = ${operation}, updated_at = now()
    WHERE sale_id = ${saleId}`;
  const rows = skus.map(({ sku, name, price, perBuyerLimit }, ordinal) => ({
    sale_id: saleId,
    sku,
    ordinal,
    name,
    price,
    per_buyer_limit: perBuyerLimit ?? null,
  }));
  await tx`
    INSERT INTO sale_skus ${tx(rows)}
    ON CONFLICT (sale_id, sku) DO UPDATE SET ordinal = excluded.ordinal, name = excluded.name, price = excluded.price,
      per_buyer_limit = excluded.per_buyer_limit
    WHERE (sale_skus.ordinal, sale_skus.name, sale_skus.price, sale_skus.per_buyer_limit)
      IS DISTINCT FROM (excluded.ordinal, excluded.name, excluded.price, excluded.per_buyer_limit)`;
}

/** Redis has applied an operation of the sale, or decided something. Until then nobody can have bought. */
export function wasInRedis(sql: Sql | Transaction, saleId: string) {
  return sql`(
    EXISTS (SELECT FROM checkpoints WHERE sale_id = ${saleId})
    OR EXISTS (SELECT FROM sale_operations WHERE sale_id = ${saleId} AND outcome <> 'pending'))`;
}

/** The SKUs of the row of `sales` that the statement reads, as a definition has them. */
export function skusOfSale(sql: Sql | Transaction) {
  return sql`(
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('sku', sku, 'name', s.name, 'price', price,
      'perBuyerLimit', s.per_buyer_limit)) ORDER BY ordinal)
    FROM sale_skus s WHERE s.sale_id = sales.sale_id)`;
}

/**
 * Takes what a refused operation would have changed out of the sale and out of the operations that were recorded after
 * it: each contains the whole definition. The caller has the lock for operations.
 */
export async function withdrawDefinition(
  tx: Transaction,
  saleId: string,
  operation: number,
): Promise<void> {
  // No operation can be recorded until this transaction ends.
  const [sale] = await tx<{ lastOperation: number }[]>`
    SELECT last_operation FROM sales WHERE sale_id = ${saleId} FOR NO KEY UPDATE`;
  const recorded = await tx<{ operation: number; definition: SaleDefinition }[]>`
    SELECT operation, definition FROM sale_operations
    WHERE sale_id = ${saleId} AND operation >= ${operation} ORDER BY operation`;
  const [applied] = await tx<{ definition: SaleDefinition }[]>`
    SELECT definition FROM sale_operations
    WHERE sale_id = ${saleId} AND operation < ${operation} AND outcome = 'applied'
    ORDER BY operation DESC LIMIT 1`;
  const [refused] = recorded;
  if (!sale || !refused || !applied) return;
  for (const { operation: number, definition } of recorded) {
    const corrected = withoutRefused(definition, refused.definition, applied.definition);
    await tx`
      UPDATE sale_operations SET definition = ${tx.json(corrected as never)}
      WHERE sale_id = ${saleId} AND operation = ${number}`;
    if (number === sale.lastOperation) await writeDefinition(tx, corrected, number);
  }
}

function timeOf(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
