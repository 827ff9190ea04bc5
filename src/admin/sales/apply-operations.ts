/**
 * Applies recorded sale operations to Redis, in order and exactly once:
 *
 *   pending ──applied──▶ applied
 *      └──refused by Redis──▶ insufficient_stock, sale_ended
 *
 * Each takes one transaction under a lock of the sale, so Redis is at most one operation ahead of PostgreSQL. If that
 * one is repeated, Redis gives the same reply again. Recording does not take this lock, so it never waits for Redis.
 *
 * A new start is ignored if the sale started before Redis got it. The record is then corrected; otherwise a sale
 * rebuilt from it would start a second time. A change of the end is refused if the sale has ended by then.
 */
import { Fault, unreachable } from '../../domain/fault.ts';
import { applyOperation, type SaleOperation } from '../../lua/operate/apply-operation.ts';
import { readSale } from '../../lua/read/read-sale.ts';
import { inTransaction, type Transaction } from '../../postgres/connection.ts';
import { lockOperations } from '../../postgres/sale-locks.ts';
import { settleOperation } from '../../postgres/settle-operation.ts';
import type { Servers } from '../context.ts';

/** `settled`: no operation is pending. The others are the reason why one is. */
export type ApplicationState = 'settled' | 'recovering' | 'unavailable';

export async function applyPendingOperations(
  servers: Servers,
  saleId: string,
): Promise<ApplicationState> {
  for (;;) {
    const step = await inTransaction(servers.sql, (tx) => applyNext(servers, tx, saleId));
    if (step !== 'applied') return step;
    await servers.shards.publishChanged(saleId).catch(() => undefined);
  }
}

async function applyNext(
  servers: Servers,
  tx: Transaction,
  saleId: string,
): Promise<ApplicationState | 'applied'> {
  await lockOperations(tx, saleId);
  const [next] = await tx<SaleOperation[]>`
    SELECT operation, timeline, definition, changes FROM sale_operations JOIN sales USING (sale_id)
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation LIMIT 1`;
  if (!next) return 'settled';
  try {
    servers.shards.requirePaired(saleId);
    const reply = await servers.shards.call(applyOperation, saleId, next);
    switch (reply.outcome) {
      case 'applied':
      case 'insufficient_stock':
      case 'sale_ended': {
        const { operation, definition, changes } = next;
        const { outcome } = reply;
        // The response to the request may have been 503, so the operator may not know.
        if (outcome !== 'applied') {
          servers.log.warn({ saleId, operation, reason: outcome }, 'operation refused');
        }
        const isKept = outcome === 'applied' && reply.startsAt !== definition.startsAt;
        const keptStart = isKept ? reply.startsAt : undefined;
        await settleOperation(tx, saleId, { operation, outcome, keptStart });
        if (changes.length > 0) await writeCounts(servers, tx, saleId, operation);
        return 'applied';
      }
      case 'gap':
        servers.log.error(
          { saleId, operation: next.operation, reply },
          'operation not applied: redis has other operations',
        );
        return 'recovering';
      case 'recovering':
      case 'unknown_sale':
        return 'recovering';
      default:
        return unreachable(reply);
    }
  } catch (error) {
    if (!(error instanceof Fault) || error.code === 'reply_malformed') throw error;
    servers.log.warn(
      { saleId, operation: next.operation, reason: error.message },
      'operation not applied',
    );
    return 'unavailable';
  }
}

/** Stores the counts right after a change. Only the response shows them, so a failed read is not an error. */
async function writeCounts(
  servers: Servers,
  tx: Transaction,
  saleId: string,
  operation: number,
): Promise<void> {
  const sale = await servers.shards.call(readSale, saleId).catch(() => undefined);
  if (sale?.outcome !== 'known') return;
  for (const { sku, loaded, remaining } of sale.state.stock) {
    await tx`
      UPDATE stock_ledger SET loaded_after = ${loaded}, remaining_after = ${remaining}
      WHERE sale_id = ${saleId} AND operation = ${operation} AND sku = ${sku}`;
  }
}
