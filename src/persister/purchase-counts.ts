/**
 * Keeps in PostgreSQL what hot paths count of their sales, for the report of a sale: refusals and latencies, which no
 * reservation shows. The counts only grow, so it does not matter how many persisters write them, or how often.
 */
import { type Reported, readReports } from '../counters/counter-keys.ts';
import type { SaleCounters } from '../counters/process-counters.ts';
import type { PersisterContext } from './context.ts';

/** A report of a process that ended expires after twice this time. */
export const COUNTS_INTERVAL_MS = 2_500;

export class PurchaseCounts {
  readonly #context: Pick<PersisterContext, 'shards' | 'database'>;
  /** Purchases by row, as written last, of the processes that run. */
  #written = new Map<string, number>();

  constructor(context: Pick<PersisterContext, 'shards' | 'database'>) {
    this.#context = context;
  }

  /** Throws errors of PostgreSQL. What Redis does not say is missing in the report. */
  async write(): Promise<void> {
    const { shards, database } = this.#context;
    const written = new Map<string, number>();
    const rows: Row[] = [];
    for (const place of shards.servers) {
      const reports = await readReports(place).catch((): Reported[] => []);
      for (const row of reports.flatMap(rowsOf)) {
        const name = `${row.saleId} ${row.processId} ${row.since}`;
        written.set(name, row.purchases);
        if (this.#written.get(name) !== row.purchases) rows.push(row);
      }
    }
    if (rows.length > 0) {
      await database.run(
        (sql) => sql`
          INSERT INTO sale_purchase_counts AS stored
            (sale_id, process_id, since, outcomes, purchases, without_redis, latencies)
          SELECT sale_id, "processId", to_timestamp(since / 1000.0), outcomes, purchases, "withoutRedis", latencies
          FROM jsonb_to_recordset(${sql.json(rows.map((row) => ({ ...row })))}) AS r(
            "saleId" text, "processId" text, since bigint, outcomes jsonb, purchases bigint, "withoutRedis" bigint,
            latencies text)
          -- A sale may have been deleted.
          JOIN sales ON sales.sale_id = r."saleId"
          ON CONFLICT (sale_id, process_id, since) DO UPDATE SET outcomes = excluded.outcomes,
            purchases = excluded.purchases, without_redis = excluded.without_redis, updated_at = now(),
            latencies = CASE excluded.latencies WHEN '' THEN stored.latencies ELSE excluded.latencies END
          WHERE stored.purchases < excluded.purchases`,
      );
    }
    this.#written = written;
  }
}

interface Row {
  saleId: string;
  processId: string;
  since: number;
  outcomes: Record<string, number>;
  purchases: number;
  withoutRedis: number;
  latencies: string;
}

function rowsOf({ id, sales }: Reported): Row[] {
  return sales.map((sale) => ({ processId: id, ...countsOf(sale) })).filter(isUsed);
}

function isUsed({ purchases }: Row): boolean {
  return purchases > 0;
}

function countsOf(sale: SaleCounters): Omit<Row, 'processId'> {
  const totals = Object.entries(sale.outcomes).map(
    ([outcome, [total]]) => [outcome, total] as const,
  );
  return {
    saleId: sale.saleId,
    since: sale.since,
    outcomes: Object.fromEntries(totals),
    purchases: totals.reduce((sum, [, total]) => sum + total, 0),
    withoutRedis: sale.withoutRedis[0],
    latencies: sale.latency?.all ?? '',
  };
}
