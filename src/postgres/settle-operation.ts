/**
 * Writes the outcome of a recorded sale operation, once: the admin after the reply of Redis, or a recovery that includes
 * the operation. Both hold the lock for operations.
 */
import type { Transaction } from './connection.ts';
import { withdrawDefinition } from './sale-definition.ts';

export interface SettledOperation {
  operation: number;
  outcome: 'applied' | 'insufficient_stock' | 'sale_ended';
  /** The start that a started sale keeps in spite of the operation. Undefined: the sale has the operation's start. */
  keptStart: number | null | undefined;
}

/** Idempotent: only the first call has an effect. */
export async function settleOperation(
  tx: Transaction,
  saleId: string,
  { operation, outcome, keptStart }: SettledOperation,
): Promise<void> {
  const { count } = await tx`
    UPDATE sale_operations SET outcome = ${outcome}, applied_at = now()
    WHERE sale_id = ${saleId} AND operation = ${operation} AND outcome = 'pending'`;
  if (count === 0) return;
  await tx`
    UPDATE stock_ledger SET outcome = ${outcome} WHERE sale_id = ${saleId} AND operation = ${operation}`;
  if (keptStart !== undefined) await keepStart(tx, saleId, operation, keptStart);
  if (outcome === 'sale_ended') await keepEnd(tx, saleId, operation);
  if (outcome === 'insufficient_stock') {
    await tx`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      SELECT actor, 'insufficient_stock', sale_id, request_id, jsonb_build_object('operation', operation)
      FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation}`;
  }
}

/** Later recorded operations contain the rejected start too; each is corrected when it is settled. */
async function keepStart(
  tx: Transaction,
  saleId: string,
  operation: number,
  startsAt: number | null,
): Promise<void> {
  await tx`
    UPDATE sale_operations
    SET definition = jsonb_set(definition, '{startsAt}', coalesce(to_jsonb(${startsAt}::bigint), 'null'))
    WHERE sale_id = ${saleId} AND operation = ${operation}`;
  await tx`
    UPDATE sales SET starts_at = ${startsAt === null ? null : new Date(startsAt)}
    WHERE sale_id = ${saleId} AND last_operation = ${operation}`;
  await tx`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    SELECT actor, 'start_kept', sale_id, request_id,
      jsonb_build_object('operation', operation, 'startsAt', definition -> 'startsAt')
    FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation}`;
}

/** The operation is refused as a whole. */
async function keepEnd(tx: Transaction, saleId: string, operation: number): Promise<void> {
  await withdrawDefinition(tx, saleId, operation);
  await tx`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    SELECT actor, 'end_kept', sale_id, request_id,
      jsonb_build_object('operation', operation, 'endsAt', definition -> 'endsAt')
    FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation}`;
}
