/**
 * Applies recorded operations to Redis, in order and once. An operation is
 *
 *   pending ──applied──▶ applied
 *      └──refused by Redis──▶ insufficient_stock
 *
 * One transaction each, under a lock of the sale, so that at most one operation is ever ahead of what PostgreSQL
 * knows: for that one, Redis repeats its answer. Recording does not take this lock, so it never waits for Redis.
 *
 * A start that was put off comes too late where the sale has begun before Redis heard of it: the sale keeps its start,
 * and what is recorded is set right, or a sale rebuilt from it would begin once more.
 */
import { Fault, unreachable } from '../../domain/fault.ts';
import { applyOperation, type Operation } from '../../lua/operate/apply-operation.ts';
import { readSale } from '../../lua/read/read-sale.ts';
import type { Transaction } from '../../postgres/connection.ts';
import { lockOperations } from '../../postgres/sale-locks.ts';
import { settleOperation } from '../../postgres/settle-operation.ts';
import type { Servers } from '../context.ts';

/** `settled`: nothing is pending. The others: something is, and why. */
export type ApplicationState = 'settled' | 'recovering' | 'unavailable';

export async function applyPendingOperations(
  servers: Servers,
  saleId: string,
): Promise<ApplicationState> {
  for (;;) {
    const step = await servers.sql.begin((tx) => applyNext(servers, tx, saleId));
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
  const [next] = await tx<Operation[]>`
    SELECT operation, timeline, definition, changes FROM sale_operations JOIN sales USING (sale_id)
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation LIMIT 1`;
  if (!next) return 'settled';
  try {
    const reply = await servers.shards.call(applyOperation, saleId, next);
    switch (reply.outcome) {
      case 'applied':
      case 'insufficient_stock': {
        const { operation, definition, changes } = next;
        const { outcome } = reply;
        const isKept = outcome === 'applied' && reply.startsAt !== definition.startsAt;
        const keptStart = isKept ? reply.startsAt : undefined;
        await settleOperation(tx, saleId, { operation, outcome, keptStart });
        if (changes.length > 0) await writeCounts(servers, tx, saleId, operation);
        return 'applied';
      }
      case 'gap':
        servers.log.error(
          { saleId, operation: next.operation, reply },
          'redis has other operations',
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
      'an operation stays pending',
    );
    return 'unavailable';
  }
}

/** Keeps what was counted right after a change. Only the answer wants it, so not being able to read it is no fault. */
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
