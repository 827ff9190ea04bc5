/** Waits until every reservation is paid, cancelled or expired, and counts the results in PostgreSQL, Redis and the shop. */
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { withDeadline } from './durable-rows.ts';
import type { StockCounts } from './operator.ts';
import type { PaymentCounts, Shop, ShopSale } from './shop.ts';

export interface Settlement {
  /** Rows in PostgreSQL by status; `reserved` is not settled yet. */
  rows: { reserved: number; confirmed: number; cancelled: number; expired: number };
  stock: StockCounts;
  payments: PaymentCounts | undefined;
  durationMs: number;
}

/** For payments that begin shortly before the last hold ends, and for the persister. */
const GRACE_MS = 30_000;
const POLL_INTERVAL_MS = 100;

/** Waits until nothing is held, at most the length of an extended hold plus a grace period. */
export async function waitUntilSettled(
  sale: ShopSale & { shop: Shop },
  reach: (settled: number) => void,
  stopping: AbortSignal,
): Promise<Settlement> {
  const { stack, operator, shop, saleId, holdSeconds } = sale;
  const startedAt = Date.now();
  const deadline = startedAt + 2 * holdSeconds * 1_000 + GRACE_MS;
  const sql = postgres(stack.postgresUrl, {
    max: 1,
    connect_timeout: 5,
    onnotice: () => undefined,
  });
  try {
    let rows: Settlement['rows'] = { reserved: 0, confirmed: 0, cancelled: 0, expired: 0 };
    do {
      await sleep(POLL_INTERVAL_MS, undefined, { signal: stopping });
      // PostgreSQL may be unavailable for a moment; the next round counts again.
      rows = await withDeadline(countRows(sql, saleId)).catch(() => rows);
      reach(settledOf(rows));
    } while (isOpen(rows) && Date.now() < deadline);
    return {
      rows,
      stock: await operator.countStock(saleId),
      payments: await shop.payments(),
      durationMs: Date.now() - startedAt,
    };
  } finally {
    await sql.end({ timeout: 1 });
  }
}

export function settledOf({ confirmed, cancelled, expired }: Settlement['rows']): number {
  return confirmed + cancelled + expired;
}

/** True also before the first successful count. */
function isOpen(rows: Settlement['rows']): boolean {
  return rows.reserved > 0 || settledOf(rows) === 0;
}

async function countRows(sql: postgres.Sql, saleId: string): Promise<Settlement['rows']> {
  const [row] = await sql<Settlement['rows'][]>`
    SELECT count(*) FILTER (WHERE status = 'reserved')::int AS reserved,
           count(*) FILTER (WHERE status = 'confirmed')::int AS confirmed,
           count(*) FILTER (WHERE status = 'cancelled')::int AS cancelled,
           count(*) FILTER (WHERE status = 'expired')::int AS expired
      FROM reservations WHERE sale_id = ${saleId}`;
  return row!;
}
