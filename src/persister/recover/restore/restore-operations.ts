/** Restores sale operations that Redis has applied and PostgreSQL lacks: the definition and the loaded units as they are. */

import { isDeepStrictEqual } from 'node:util';
import type { SaleDefinition } from '../../../domain/sale.ts';
import type { StockChange } from '../../../lua/operate/apply-operation.ts';
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
  const recorded = await tx<RecordedOperation[]>`
    SELECT operation, outcome, changes FROM sale_operations WHERE sale_id = ${saleId} ORDER BY operation`;
  const newest = recorded.at(-1)?.operation ?? 0;
  // The usual crash between Redis and PostgreSQL leaves the last operation pending, and admin repeats it.
  if (last <= newest) return 0;
  const inRedis = new Map(
    stock.map(({ sku, loaded }) => [sku, loaded + (withdrawnLater.get(sku) ?? 0)]),
  );
  const inPostgres = await readLoaded(tx, saleId);
  for (const { operation, outcome, changes } of recorded) {
    if (outcome !== 'pending') continue;
    const settled = likelierOutcome(changes, inRedis, inPostgres);
    await settleOperation(tx, saleId, { operation, outcome: settled, keptStart: undefined });
    if (settled === 'applied') for (const change of changes) add(inPostgres, change);
  }
  const changes = [...inRedis]
    .map(([sku, units]) => ({ sku, delta: units - (inPostgres.get(sku) ?? 0) }))
    .filter(({ delta }) => delta !== 0);
  // The first restored operation has all changes. The last one has the outcome that Redis repeats for its number, unless
  // that is a refusal and it must have changes.
  const isChanged = changes.length > 0 || !(await isLastApplied(tx, saleId, definition));
  const isRefused = operationOutcome === 'sale_ended' || operationOutcome === 'insufficient_stock';
  for (let operation = newest + 1; operation <= last; operation += 1) {
    const isFirst = operation === newest + 1;
    const own = isFirst ? changes : [];
    const isRefusal = isRefused && operation === last && !(isFirst && isChanged);
    const ownOutcome = isRefusal ? operationOutcome : 'applied';
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

interface RecordedOperation {
  operation: number;
  outcome: string;
  changes: StockChange[];
}

/** Units by SKU in the ledger, events included. */
async function readLoaded(tx: Transaction, saleId: string): Promise<Map<string, number>> {
  const rows = await tx<{ sku: string; units: number }[]>`
    SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND outcome = 'applied' GROUP BY sku`;
  return new Map(rows.map(({ sku, units }) => [sku, units]));
}

function add(units: Map<string, number>, { sku, delta }: StockChange): void {
  units.set(sku, (units.get(sku) ?? 0) + delta);
}

/**
 * Redis knows the outcome of its last operation only. An earlier one that is pending was refused if the units in Redis
 * differ less without its withdrawal.
 */
function likelierOutcome(
  changes: readonly StockChange[],
  inRedis: ReadonlyMap<string, number>,
  inPostgres: ReadonlyMap<string, number>,
): 'applied' | 'insufficient_stock' {
  if (!changes.some(({ delta }) => delta < 0)) return 'applied';
  let [without, withIt] = [0, 0];
  for (const { sku, delta } of changes) {
    const lacking = (inRedis.get(sku) ?? 0) - (inPostgres.get(sku) ?? 0);
    without += Math.abs(lacking);
    withIt += Math.abs(lacking - delta);
  }
  return withIt <= without ? 'applied' : 'insufficient_stock';
}

/** Whether the last applied operation already has this definition. */
async function isLastApplied(
  tx: Transaction,
  saleId: string,
  definition: SaleDefinition,
): Promise<boolean> {
  const [row] = await tx<{ definition: SaleDefinition }[]>`
    SELECT definition FROM sale_operations WHERE sale_id = ${saleId} AND outcome = 'applied'
    ORDER BY operation DESC LIMIT 1`;
  return isDeepStrictEqual(row?.definition, definition);
}
