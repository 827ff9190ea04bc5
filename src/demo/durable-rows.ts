/**
 * Watches PostgreSQL itself, not what the engine says of it, until every yes is a row there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { Fault } from '../domain/fault.ts';

export interface DurableRows {
  rows: number;
  distinctBuyers: number;
  /** From the last yes until a query saw every row; 0 when all were there before, undefined when they never came. */
  waitedMs: number | undefined;
  /** The longest that one row took from the decision in Redis to being written, by the servers' clock. */
  slowestRowMs: number;
}

/** A killed persister is back within seconds, a suspended PostgreSQL after as long as it was suspended. */
const DEADLINE_MS = 60_000;
const POLL_INTERVAL_MS = 10;
/** A suspended PostgreSQL does not answer at all; asking again is what notices that it is back. */
const QUERY_DEADLINE_MS = 2_000;

export class RowWatch {
  readonly #sql: postgres.Sql;
  readonly #saleId: string;

  constructor(postgresUrl: string, saleId: string) {
    this.#sql = postgres(postgresUrl, { max: 1, connect_timeout: 5, onnotice: () => undefined });
    this.#saleId = saleId;
  }

  /** `lastYesAt` is milliseconds since the epoch. */
  async waitFor(
    rows: number,
    lastYesAt: number,
    onRows: (rows: number) => void,
    stopping: AbortSignal,
  ): Promise<DurableRows> {
    const deadline = Date.now() + DEADLINE_MS;
    let waitedMs: number | undefined;
    while (waitedMs === undefined && Date.now() < deadline) {
      stopping.throwIfAborted();
      const present = await inTime(this.#count()).catch(() => 0);
      onRows(present);
      if (present >= rows) waitedMs = Math.max(0, Date.now() - lastYesAt);
      else await sleep(POLL_INTERVAL_MS);
    }
    return { ...(await inTime(this.#summary())), waitedMs };
  }

  async close(): Promise<void> {
    await this.#sql.end({ timeout: 1 });
  }

  async #count(): Promise<number> {
    const [row] = await this.#sql<{ rows: number }[]>`
      SELECT count(*)::int AS rows FROM reservations WHERE sale_id = ${this.#saleId}`;
    return row!.rows;
  }

  async #summary(): Promise<Omit<DurableRows, 'waitedMs'>> {
    const [row] = await this.#sql<Omit<DurableRows, 'waitedMs'>[]>`
      SELECT count(*)::int AS rows,
             count(DISTINCT buyer_id)::int AS "distinctBuyers",
             coalesce(max(extract(epoch FROM persisted_at - reserved_at)) * 1000, 0)::float8
               AS "slowestRowMs"
        FROM reservations WHERE sale_id = ${this.#saleId}`;
    return row!;
  }
}

async function inTime<T>(query: Promise<T>): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      query,
      sleep(QUERY_DEADLINE_MS, undefined, { signal: late.signal }).then(() => {
        throw new Fault('server_unfit', 'PostgreSQL does not answer');
      }),
    ]);
  } finally {
    late.abort();
  }
}
