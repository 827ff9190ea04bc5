/**
 * Watches PostgreSQL itself, not what the engine says of it, until every yes is a row there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { Fault } from '../../domain/fault.ts';

export interface DurableRows {
  rows: number;
  distinctBuyers: number;
  /** From the last yes until a query saw every row: 0 when it was faster, undefined when they never came. */
  waitedMs: number | undefined;
  /** The longest that one row took from the decision in Redis to being written, by the servers' clock. */
  slowestRowMs: number;
}

/** A killed persister is back within seconds, a suspended PostgreSQL after as long as it was suspended. */
const DEADLINE_MS = 60_000;
const POLL_INTERVAL_MS = 20;
/** A suspended PostgreSQL does not answer at all; asking again is what notices that it is back. */
const QUERY_DEADLINE_MS = 2_000;

/** Looks all the time, from before the first buyer presses, so that it sees the moment when the last row came. */
export class RowWatch {
  readonly #sql: postgres.Sql;
  readonly #saleId: string;
  readonly #onRows: (rows: number) => void;
  readonly #closing = new AbortController();
  /** For each number of rows that was seen, when it was seen first; ascending in both. */
  readonly #sightings: { rows: number; at: number }[] = [];
  readonly #looking: Promise<void>;

  constructor(postgresUrl: string, saleId: string, onRows: (rows: number) => void) {
    this.#sql = postgres(postgresUrl, { max: 1, connect_timeout: 5, onnotice: () => undefined });
    this.#saleId = saleId;
    this.#onRows = onRows;
    this.#looking = this.#look();
  }

  /** Waits until there are so many rows. `lastYesAt` is milliseconds since the epoch. */
  async waitFor(rows: number, lastYesAt: number, stopping: AbortSignal): Promise<DurableRows> {
    const deadline = Date.now() + DEADLINE_MS;
    const sighting = () => this.#sightings.find((seen) => seen.rows >= rows);
    while (!sighting() && Date.now() < deadline) {
      stopping.throwIfAborted();
      await sleep(POLL_INTERVAL_MS);
    }
    const seenAt = sighting()?.at;
    if (seenAt !== undefined) this.#onRows(rows);
    const waitedMs = seenAt === undefined ? undefined : Math.max(0, seenAt - lastYesAt);
    return { ...(await withDeadline(this.#summary())), waitedMs };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#looking;
    await this.#sql.end({ timeout: 1 });
  }

  async #look(): Promise<void> {
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

/** A query's answer, or a Fault when it does not come soon. */
export async function withDeadline<T>(query: Promise<T>): Promise<T> {
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
