/** Everything that the report of a sale shows, read from PostgreSQL, and from Redis where it still has the sale. */
import { addBuckets, type Percentiles, percentilesOf } from '../../../counters/latency-buckets.ts';
import type { ReservationStatus } from '../../../domain/reservation.ts';
import { type ReadSaleReply, readSale } from '../../../lua/read/read-sale.ts';
import type { Sql } from '../../../postgres/connection.ts';
import { type Report as Verification, verifySale } from '../../../verify/verify.ts';
import type { Servers } from '../../context.ts';
import { SingleFlight } from '../../http/single-flight.ts';
import { listReservations, type ReservationRow } from '../../reservations/reservation-queries.ts';
import type { SaleJson } from '../../sales/sale-schemas.ts';
import { findSale } from '../../sales/sale-store.ts';
import { viewSales } from '../../sales/sale-view.ts';
import { readHistory, type SaleHistory } from '../history.ts';
import { readTimelines, type Timelines } from './timelines.ts';

/** Of the first and of the newest reservations. */
const RESERVATIONS_SHOWN = 10;
const AUDIT_ENTRIES_MAX = 500;

export interface SaleReport {
  madeAt: Date;
  sale: SaleJson;
  reservations: ReservationSummary[];
  first: readonly ReservationRow[];
  newest: readonly ReservationRow[];
  timelines: Timelines | undefined;
  purchases: PurchaseSummary | undefined;
  history: SaleHistory;
  /** The oldest first. */
  audit: AuditRow[];
  deadLetters: number;
  verification: Verification;
}

interface ReservationSummary {
  status: ReservationStatus;
  source: string;
  count: number;
  /** Minor units; as text, because a sum can be above 2^53. */
  total: string;
}

/** What hot paths have counted. */
interface PurchaseSummary {
  outcomes: Record<string, number>;
  withoutRedis: number;
  latencyMs: Percentiles | null;
  hotPaths: number;
}

export interface AuditRow {
  occurredAt: Date;
  actor: string;
  action: string;
  details: Record<string, unknown>;
}

/** Undefined: there is no such sale. */
export async function readReport(
  servers: Servers,
  saleId: string,
): Promise<SaleReport | undefined> {
  const { sql, shards } = servers;
  const stored = await findSale(sql, saleId);
  const history = stored && (await readHistory(sql, saleId));
  if (!history) return undefined;
  // It waits until PostgreSQL has the events up to now, which the rest then shows.
  const verification = await verifySale(servers, saleId);
  const reader = new SingleFlight<ReadSaleReply>((id) => shards.call(readSale, id));
  const [sale] = await viewSales(servers, reader, [stored]);
  const rows = { after: undefined, rowsMax: RESERVATIONS_SHOWN };
  return {
    madeAt: new Date(stored.nowMs),
    sale: sale!,
    reservations: await summarize(sql, saleId),
    first: await listReservations(sql, { saleId }, rows, 'oldest first'),
    newest: await listReservations(sql, { saleId }, rows),
    timelines: await readTimelines(sql, saleId),
    purchases: await readPurchases(sql, saleId),
    history,
    audit: await readAudit(sql, saleId),
    deadLetters: await countDeadLetters(sql, saleId),
    verification,
  };
}

async function summarize(sql: Sql, saleId: string): Promise<ReservationSummary[]> {
  const rows = await sql<ReservationSummary[]>`
    SELECT status, r.source, count(*) AS count, sum(total)::text AS total
    FROM reservations r WHERE sale_id = ${saleId} GROUP BY status, r.source ORDER BY status, source`;
  return [...rows];
}

/** Undefined: no hot path has counted anything. */
async function readPurchases(sql: Sql, saleId: string): Promise<PurchaseSummary | undefined> {
  const rows = await sql<
    { outcomes: string; withoutRedis: number; latencies: string; processId: string }[]
  >`
    SELECT outcomes::text, without_redis, latencies, process_id FROM sale_purchase_counts
    WHERE sale_id = ${saleId}`;
  if (rows.length === 0) return undefined;
  const outcomes: Record<string, number> = {};
  const latencies: number[] = [];
  for (const row of rows) {
    const counted = JSON.parse(row.outcomes) as Record<string, number>;
    for (const [outcome, count] of Object.entries(counted))
      outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
    addBuckets(latencies, row.latencies);
  }
  return {
    outcomes,
    withoutRedis: rows.reduce((sum, row) => sum + row.withoutRedis, 0),
    latencyMs: percentilesOf(latencies),
    hotPaths: new Set(rows.map(({ processId }) => processId)).size,
  };
}

async function readAudit(sql: Sql, saleId: string): Promise<AuditRow[]> {
  const rows = await sql<AuditRow[]>`
    SELECT occurred_at, actor, action, details FROM audit_log
    WHERE sale_id = ${saleId} ORDER BY audit_id DESC LIMIT ${AUDIT_ENTRIES_MAX}`;
  return rows.toReversed();
}

async function countDeadLetters(sql: Sql, saleId: string): Promise<number> {
  const [row] = await sql<[{ count: number }]>`
    SELECT count(*) AS count FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL`;
  return row.count;
}
