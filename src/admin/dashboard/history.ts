/** The history of a sale as the dashboard and the report show it: its timeline, its fence and its recoveries. */
import type { Sql } from '../../postgres/connection.ts';

const RECOVERIES_MAX = 100;

export interface SaleHistory {
  /** The run id of the server that the sale was opened on; empty: on the one that it was created on. */
  fence: string;
  timeline: number;
  /** The newest first. */
  recoveries: ShownRecovery[];
}

interface ShownRecovery {
  startedAt: string;
  /** Null: it was requested and is not done. */
  endedAt: string | null;
  result: 'renewed' | 'rebuilt' | 'removed' | 'blocked' | 'requested';
  reason: string;
}

interface RecoveryRow {
  actor: string;
  outcome: Exclude<ShownRecovery['result'], 'requested'> | null;
  report: { seconds?: number; cause?: string; why?: string };
  requestedAt: Date;
  finishedAt: Date | null;
}

/** Undefined: there is no such sale. */
export async function readHistory(sql: Sql, saleId: string): Promise<SaleHistory | undefined> {
  const [sale] = await sql<{ fence: string; timeline: number }[]>`
    SELECT fence, timeline FROM sales WHERE sale_id = ${saleId}`;
  if (!sale) return undefined;
  const rows = await sql<RecoveryRow[]>`
    SELECT actor, outcome, report, requested_at, finished_at FROM sale_recoveries
    WHERE sale_id = ${saleId} ORDER BY recovery_id DESC LIMIT ${RECOVERIES_MAX}`;
  return { ...sale, recoveries: rows.map(shown) };
}

/** A persister writes the row of its own recovery at the end, so its start follows from how long it took. */
function shown({ outcome, report, requestedAt, finishedAt }: RecoveryRow): ShownRecovery {
  const startedMs = finishedAt
    ? finishedAt.getTime() - (report.seconds ?? 0) * 1_000
    : requestedAt.getTime();
  return {
    startedAt: new Date(startedMs).toISOString(),
    endedAt: finishedAt?.toISOString() ?? null,
    result: outcome ?? 'requested',
    reason: report.why ?? report.cause ?? '',
  };
}
