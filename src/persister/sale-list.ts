/** Reads from PostgreSQL which sales there are, and which of them have changed since the last time. */
import { effectiveStatus, type SaleStatus } from '../domain/sale.ts';
import type { Sql } from '../postgres/connection.ts';
import { URGENCY, type Urgency } from './turn-queue.ts';

export interface ListedSale {
  saleId: string;
  status: SaleStatus;
  startsAt: number | null;
  endsAt: number | null;
  isRecoveryRequested: boolean;
}

/**
 * A change appears with the time at which its transaction began, and reaches Redis after it was committed. So a sale
 * counts as changed for this long.
 */
const CHANGED_MS = 10_000;

/** All sales that are not archived. */
export function listSales(sql: Sql): Promise<ListedSale[]> {
  return sql<ListedSale[]>`SELECT ${listed(sql)} FROM sales AS s WHERE archived_at IS NULL`;
}

/**
 * Sales that have changed since the last list, or shortly before it; those with a requested recovery; and `hinted` ones.
 * `gone`: deleted or archived. `newestChangeMs` is by PostgreSQL's clock; 0: there is no sale.
 */
export async function listChanged(
  sql: Sql,
  { hinted, listAgeMs }: { hinted: readonly string[]; listAgeMs: number },
): Promise<{ sales: ListedSale[]; gone: string[]; newestChangeMs: number }> {
  const withinMs = CHANGED_MS + listAgeMs;
  const rows = await sql<(ListedSale & { isArchived: boolean })[]>`
    SELECT ${listed(sql)}, archived_at IS NOT NULL AS is_archived FROM sales AS s WHERE sale_id IN (
      SELECT sale_id FROM sales
      WHERE greatest(updated_at, archived_at) > now() - ${`${withinMs} milliseconds`}::text::interval
      UNION SELECT sale_id FROM sale_recoveries WHERE state = 'requested'
      UNION SELECT unnest(${hinted}::text[]))`;
  const sales = rows.filter(({ isArchived }) => !isArchived);
  const present = new Set(sales.map(({ saleId }) => saleId));
  const archived = rows.filter(({ isArchived }) => isArchived).map(({ saleId }) => saleId);
  const [newest] = await sql<[{ changeMs: number | null }]>`
    SELECT (extract(epoch FROM max(greatest(updated_at, archived_at))) * 1000)::float8 AS change_ms FROM sales`;
  return {
    sales,
    gone: [...archived, ...hinted.filter((saleId) => !present.has(saleId))],
    newestChangeMs: newest.changeMs ?? 0,
  };
}

function listed(sql: Sql) {
  return sql`s.sale_id, s.status, (extract(epoch FROM s.starts_at) * 1000)::float8 AS starts_at,
    (extract(epoch FROM s.ends_at) * 1000)::float8 AS ends_at,
    EXISTS (SELECT FROM sale_recoveries AS r WHERE r.sale_id = s.sale_id AND r.state = 'requested') AS is_recovery_requested`;
}

/** How urgent it is to open a sale that nobody is known to wait for. */
export function urgencyOf(sale: ListedSale, nowMs = Date.now()): Urgency {
  const status = effectiveStatus(sale, nowMs);
  if (status === 'paused') return URGENCY.paused;
  if (status !== 'open') return URGENCY.atRest;
  return (sale.startsAt ?? nowMs) <= nowMs ? URGENCY.selling : URGENCY.starting;
}

/** The most urgent sales first; of those that have not started, the next ones. */
export function byUrgency(a: ListedSale, b: ListedSale): number {
  return urgencyOf(a) - urgencyOf(b) || (a.startsAt ?? 0) - (b.startsAt ?? 0);
}
