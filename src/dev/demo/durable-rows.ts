/** Polls PostgreSQL directly until every accepted purchase is a row there. */
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { Fault } from '../../domain/fault.ts';

export interface DurableRows {
  rows: number;
  distinctBuyers: number;
  /** Time from the last acceptance until a query saw every row; undefined when some row never arrived. */
  waitedMs: number | undefined;
  /** The longest time from the decision in Redis to the write of the row, by the servers' clocks. */
  slowestRowMs: number;
}

/** Covers the restart of a killed persister and a suspension of PostgreSQL. */
const DEADLINE_MS = 60_000;
const POLL_INTERVAL_MS = 20;
/** A suspended PostgreSQL never replies, so the query is repeated. */
const QUERY_DEADLINE_MS = 2_000;

/** Polls from before the first purchase, so that it sees when the last row arrives. */
export class RowWatch {
  readonly #sql: postgres.Sql;
  readonly #saleId: string;
  readonly #onRows: (rows: number) => void;
  readonly #closing = new AbortController();
  /** When each number of rows was first seen; ascending in both. */
  readonly #sightings: { rows: number; at: number }[] = [];
  readonly #polling: Promise<void>;

  constructor(postgresUrl: string, saleId: string, onRows: (rows: number) => void) {
    this.#sql = postgres(postgresUrl, { max: 1, connect_timeout: 5, onnotice: () => undefined });
    this.#saleId = saleId;
    this.#onRows = onRows;
    this.#polling = this.#poll();
  }

  /** Waits until there are that many rows. `lastAcceptedAt` is milliseconds since the epoch. */
  async waitFor(rows: number, lastAcceptedAt: number, stopping: AbortSignal): Promise<DurableRows> {
    const deadline = Date.now() + DEADLINE_MS;
    const sighting = () => this.#sightings.find((seen) => seen.rows >= rows);
    while (!sighting() && Date.now() < deadline) {
      stopping.throwIfAborted();
      await sleep(POLL_INTERVAL_MS);
    }
    const seenAt = sighting()?.at;
    if (seenAt !== undefined) this.#onRows(rows);
    const waitedMs = seenAt === undefined ? undefined : Math.max(0, seenAt - lastAcceptedAt);
    return { ...(await withDeadline(this.#summary())), waitedMs };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#polling;
    await this.#sql.end({ timeout: 1 });
  }

  async #poll(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const rows = await withDeadline(this.#count()).catch(() => 0);
      if (rows > (this.#sightings.at(-1)?.rows ?? 0)) {
        this.#sightings.push({ rows, at: Date.now() });
        this.#onRows(rows);
      }
      await sleep(POLL_INTERVAL_MS);
    }
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

/** @throws Fault server_unfit when the query takes too long */
export async function withDeadline<T>(query: Promise<T>): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      query,
      sleep(QUERY_DEADLINE_MS, undefined, { signal: late.signal }).then(() => {
        throw new Fault('server_unfit', 'PostgreSQL does not reply');
      }),
    ]);
  } finally {
    late.abort();
  }
}
