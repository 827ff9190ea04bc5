/**
 * Applies pending sale operations in the background: after a crash between PostgreSQL and Redis, or when Redis is
 * available again. Several admins can run it concurrently; the lock of the sale serialises them.
 */
import type { AdminContext, Servers } from '../context.ts';
import { applyPendingOperations } from './apply-operations.ts';

const INTERVAL_MS = 2_000;
/** Further sales follow in later rounds, chosen at random. */
const SALES_PER_ROUND = 100;

export interface PendingRepairer {
  close(): Promise<void>;
}

export function startPendingRepairer(
  servers: Servers & Pick<AdminContext, 'metrics'>,
  intervalMs = INTERVAL_MS,
): PendingRepairer {
  const stopping = new AbortController();
  let round: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout;
  const run = async () => {
    try {
      servers.metrics.pendingSales.set(await repairRound(servers, stopping.signal));
    } catch (error) {
      servers.log.warn({ reason: (error as Error).message }, 'repair round failed');
    }
    if (!stopping.signal.aborted) schedule();
  };
  const schedule = () => {
    timer = setTimeout(() => {
      round = run();
    }, intervalMs);
  };
  schedule();
  return {
    async close() {
      stopping.abort();
      clearTimeout(timer);
      await round;
    },
  };
}

/** Returns how many sales had pending operations. A failure of one sale does not stop the round. */
export async function repairRound(servers: Servers, stopping?: AbortSignal): Promise<number> {
  const sales = await servers.sql<{ saleId: string }[]>`
    SELECT sale_id FROM sale_operations WHERE outcome = 'pending'
    GROUP BY sale_id ORDER BY random() LIMIT ${SALES_PER_ROUND}`;
  for (const { saleId } of sales) {
    if (stopping?.aborted) break;
    try {
      const state = await applyPendingOperations(servers, saleId);
      servers.log.info({ saleId, state }, 'pending operations repaired');
    } catch (error) {
      servers.log.warn({ saleId, err: error }, 'sale not repaired');
    }
  }
  return sales.length;
}
