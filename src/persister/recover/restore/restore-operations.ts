/** Restores sale operations that Redis has applied and PostgreSQL lacks: the definition and the loaded units as they are. */

import type { Examination } from '../../../lua/recover/examine-sale.ts';
import type { Transaction } from '../../../postgres/connection.ts';
import { settleOperation } from '../../../postgres/settle-operation.ts';

const REASON = 'restored from Redis';

/** Returns the number of operations that were written. Does nothing if Redis' definition or stock cannot be read. */
export async function restoreOperations(
  tx: Transaction,
  saleId: string,
  { operation: last, operationOutcome, definition, stock }: Examination,
  /** Units by SKU that events will take out of the sale once they are written. */
  withdrawnLater: ReadonlyMap<string, number>,
): Promise<number> {
  if (last === undefined || !definition || !stock) return 0;
  const recorded = await tx<{ operation: number; outcome: string }[]>`
    SELECT operation, outcome FROM sale_operations WHERE sale_id = ${saleId} ORDER BY operation`;
  const newest = recorded.at(-1)?.operation ?? 0;
  // The usual crash between Redis and PostgreSQL leaves the last operation pending, and admin repeats it.
  if (last <= newest) return 0;
  for (const { operation, outcome } of recorded) {
    if (outcome !== 'pending') continue;
    await settleOperation(tx, saleId, { operation, outcome: 'applied', keptStart: undefined });
  }
  const outcome =
    operationOutcome === 'sale_ended'
      ? 'sale_ended'
      : operationOutcome === 'insufficient_stock'
        ? 'insufficient_stock'
        : 'applied';
  const loaded = await tx<{ sku: string; units: number }[]>`
    SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND outcome = 'applied' GROUP BY sku`;
  const before = new Map(loaded.map(({ sku, units }) => [sku, units]));
  const changes = stock
    .map(({ sku, loaded: units }) => {
      const byOperators = units + (withdrawnLater.get(sku) ?? 0);
      return { sku, delta: byOperators - (before.get(sku) ?? 0) };
    })
    .filter(({ delta }) => delta !== 0);
  for (let operation = newest + 1; operation <= last; operation += 1) {
    const isFirst = operation === newest + 1;
    // The first one has all changes. The last one keeps the outcome that Redis repeats for its number; if that is a
    // refusal, it has changed nothing.
    const own = isFirst ? changes : [];
    const ownOutcome = operation === last && own.length === 0 ? outcome : 'applied';
    await tx`
      INSERT INTO sale_operations
        (sale_id, operation, action, definition, changes, outcome, actor, request_id, applied_at)
      VALUES (${saleId}, ${operation}, 'restore', ${tx.json(definition as never)}, ${tx.json(own)}, ${ownOutcome},
        'persister', 'restore', now())`;
    const stockChanges = own.map((change) => ({ ...change, reason: REASON }));
    await tx`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      VALUES ('persister', 'restore', ${saleId}, 'restore',
        ${tx.json({ operation, definition, stock: stockChanges } as never)})`;
    if (ownOutcome === 'applied') continue;
    await tx`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      VALUES ('persister', ${ownOutcome === 'sale_ended' ? 'end_kept' : ownOutcome}, ${saleId}, 'restore',
        ${tx.json({ operation })})`;
  }
  for (const { sku, delta } of changes) {
    await tx`
      INSERT INTO stock_ledger (sale_id, operation, sku, delta, reason, outcome)
      VALUES (${saleId}, ${newest + 1}, ${sku}, ${delta}, ${REASON}, 'applied')`;
  }
  const { name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds } = definition;
  await tx`
    UPDATE sales SET name = ${name}, currency = ${currency}, status = ${status},
      starts_at = ${startsAt === null ? null : new Date(startsAt)},
      ends_at = ${endsAt === null ? null : new Date(endsAt)},
      per_buyer_limit = ${perBuyerLimit}, hold_seconds = ${holdSeconds},
      waitlist_hold_seconds = ${definition.waitlistHoldSeconds ?? null}, last_operation = ${last}, updated_at = now()
    WHERE sale_id = ${saleId}`;
  for (const [index, each] of definition.skus.entries()) {
    const { sku, name: skuName, price } = each;
    await tx`
      INSERT INTO sale_skus (sale_id, sku, ordinal, name, price, per_buyer_limit)
      VALUES (${saleId}, ${sku}, ${index}, ${skuName}, ${price}, ${each.perBuyerLimit ?? null})
      ON CONFLICT (sale_id, sku) DO UPDATE SET name = excluded.name, price = excluded.price,
        per_buyer_limit = excluded.per_buyer_limit`;
  }
  return last - newest;
}
