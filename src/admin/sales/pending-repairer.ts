/**
 * Finishes what was recorded and not applied, after a crash between PostgreSQL and Redis or once Redis is back.
 * Any number of admins may run it side by side; the lock of the sale makes them take turns.
 */
import { Gauge, type Registry } from 'prom-client';
import type { Servers } from '../context.ts';
import { applyPendingOperations } from './apply-operations.ts';

const INTERVAL_MS = 2_000;
/** One round takes so many sales at most; the others come next. */
const SALES_PER_ROUND = 100;

export interface PendingRepairer {
  close(): Promise<void>;
}

export function startPendingRepairer(
  servers: Servers,
  metrics: Registry,
  intervalMs = INTERVAL_MS,
): PendingRepairer {
  const pendingSales = new Gauge({
    name: 'admin_sales_with_pending_operations',
    help: 'Sales with operations that are recorded and not yet applied to Redis, at most 100',
    registers: [metrics],
  });
  const stopping = new AbortController();
  let round: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout;
  const run = async () => {
    try {
      pendingSales.set(await repairRound(servers, stopping.signal));
    } catch (error) {
      servers.log.warn({ reason: (error as Error).message }, 'could not repair, trying again');
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

/** Returns how many sales had something pending. One sale's trouble does not keep the others waiting. */
export async function repairRound(servers: Servers, stopping?: AbortSignal): Promise<number> {
  const sales = await servers.sql<{ saleId: string }[]>`
    SELECT sale_id FROM sale_operations WHERE outcome = 'pending'
    GROUP BY sale_id ORDER BY random() LIMIT ${SALES_PER_ROUND}`;
  for (const { saleId } of sales) {
    if (stopping?.aborted) break;
    try {
      const state = await applyPendingOperations(servers, saleId);
      servers.log.info({ saleId, state }, 'repaired pending operations');
    } catch (error) {
      servers.log.warn({ saleId, err: error }, 'could not repair a sale');
    }
  }
  return sales.length;
}
