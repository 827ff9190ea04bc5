/**
 * PostgreSQL as the persister needs it: work is tried until it is done, however long the server is away. An outage is
 * announced once when it begins and once when it ends. Only what the data itself is to blame for is thrown.
 *
 * A pool that cannot connect is thrown away: postgres.js lets its next try wait up to 20 s, which is for us to decide.
 * The same goes for one that is silent for too long, for a frozen server never closes its connections.
 */
import type { Logger } from 'pino';
import { connectPostgres, type Sql } from '../../postgres/connection.ts';
import { backoffMs, pause } from '../../process/backoff.ts';
import type { PersisterMetrics } from '../metrics.ts';
import { classifyError, reasonOf } from './postgres-errors.ts';

const BACKOFF_FIRST_MS = 50;
const BACKOFF_MOST_MS = 2_000;

/** Thrown to whoever still waits for PostgreSQL when the process closes; the entries stay unacknowledged. */
export class StoppingError extends Error {
  constructor() {
    super('the persister is closing');
    this.name = 'StoppingError';
  }
}

export interface DatabaseOptions {
  url: string;
  connectionsMax: number;
  silenceMs: number;
  log: Logger;
  metrics: PersisterMetrics;
  /** Once aborted, what fails is not tried again. */
  stopping: AbortSignal;
}

interface Outage {
  sinceMs: number;
}

export class Database {
  readonly #options: DatabaseOptions;
  #pool: Sql;
  /** At first, until the first success: nobody has seen the server yet. */
  #outage: Outage | undefined = { sinceMs: performance.now() };
  #announced = false;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#pool = this.#connect();
  }

  get isUnavailable(): boolean {
    return this.#outage !== undefined;
  }

  /**
   * Runs the work, again and again until PostgreSQL has taken it, so it must be harmless to repeat. Throws `StoppingError`,
   * and the errors for which the data is to blame.
   */
  async run<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const pool = this.#pool;
      try {
        const result = await this.#unlessSilent(pool, work);
        this.#reportRecovery();
        return result;
      } catch (error) {
        const kind = classifyError(error);
        if (kind === 'data') throw error;
        if (this.#options.stopping.aborted) throw new StoppingError();
        if (kind === 'unreachable') this.#replace(pool);
        if (kind !== 'conflict') this.#reportOutage(error);
      }
      await pause(backoffMs(attempt, BACKOFF_FIRST_MS, BACKOFF_MOST_MS), this.#options.stopping);
    }
  }

  /** Waits for PostgreSQL, then runs long work once, without the limit on silence. Throws whatever the work throws. */
  async once<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    await this.run((sql) => sql`SELECT 1`);
    return work(this.#pool);
  }

  /** Cuts off what still runs. */
  async close(): Promise<void> {
    await this.#pool.end({ timeout: 0 });
  }

  #connect(): Sql {
    return connectPostgres(this.#options.url, {
      name: 'flash-sale-persister',
      connectionsMax: this.#options.connectionsMax,
    });
  }

  #replace(failed: Sql): void {
    if (failed !== this.#pool) return;
    this.#pool = this.#connect();
    void failed.end({ timeout: 0 });
  }

  async #unlessSilent<T>(pool: Sql, work: (sql: Sql) => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#replace(pool), this.#options.silenceMs);
    try {
      return await work(pool);
    } finally {
      clearTimeout(timer);
    }
  }

  #reportOutage(error: unknown): void {
    this.#options.metrics.failures.inc();
    this.#outage ??= { sinceMs: performance.now() };
    if (this.#announced) return;
    this.#announced = true;
    this.#options.metrics.outages.inc();
    this.#options.log.warn(`postgres does not take writes, waiting for it: ${reasonOf(error)}`);
  }

  #reportRecovery(): void {
    if (!this.#outage) return;
    const outageSeconds = (performance.now() - this.#outage.sinceMs) / 1000;
    this.#outage = undefined;
    if (this.#announced) this.#options.log.info({ outageSeconds }, 'postgres takes writes again');
    else this.#options.log.info('postgres is ready');
    this.#announced = false;
  }
}
