/**
 * PostgreSQL for the persister: repeats work until it succeeds, however long the server is unavailable. It logs the
 * beginning and the end of an outage, and throws only errors that the data causes.
 *
 * A pool that cannot connect is replaced: in postgres.js its next attempt could wait up to 20 s. So is a pool that
 * returns nothing for too long, because a frozen server never closes its connections.
 */
import type { Logger } from 'pino';
import { connectPostgres, type Sql } from '../../postgres/connection.ts';
import { backoffMs, pause } from '../../process/backoff.ts';
import type { PersisterMetrics } from '../metrics.ts';
import { classifyError } from './postgres-errors.ts';

const BACKOFF_FIRST_MS = 50;
const BACKOFF_MOST_MS = 2_000;

/** Rejects the work that still waits for PostgreSQL when the process stops. Its entries stay pending. */
export class StoppingError extends Error {
  constructor() {
    super('the persister is stopping');
    this.name = 'StoppingError';
  }
}

export interface DatabaseOptions {
  url: string;
  connectionsMax: number;
  silenceMs: number;
  log: Logger;
  metrics: PersisterMetrics;
  /** Once aborted, failed work is not repeated. */
  stopping: AbortSignal;
}

export class Database {
  readonly #options: DatabaseOptions;
  #pool: Sql;
  /** Also from the start until the first success. */
  #unavailableSinceMs: number | undefined = performance.now();
  #isReported = false;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#pool = this.#connect();
  }

  get isUnavailable(): boolean {
    return this.#unavailableSinceMs !== undefined;
  }

  /**
   * Repeats the work until it succeeds, so it must be safe to repeat. Throws `StoppingError`, and errors that the data
   * causes.
   */
  async run<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const pool = this.#pool;
      try {
        const result = await this.#withTimeLimit(pool, work);
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

  /** Waits for PostgreSQL, then runs long work once, without the time limit. Throws what the work throws. */
  async runOnce<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    await this.run((sql) => sql`SELECT 1`);
    return work(this.#pool);
  }

  /** Cuts off running work. */
  async close(): Promise<void> {
    await this.#pool.end({ timeout: 0 });
  }

  #connect(): Sql {
    return connectPostgres(this.#options.url, {
      process: 'persister',
      connectionsMax: this.#options.connectionsMax,
    });
  }

  #replace(failed: Sql): void {
    if (failed !== this.#pool) return;
    this.#pool = this.#connect();
    void failed.end({ timeout: 0 });
  }

  async #withTimeLimit<T>(pool: Sql, work: (sql: Sql) => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#replace(pool), this.#options.silenceMs);
    try {
      return await work(pool);
    } finally {
      clearTimeout(timer);
    }
  }

  #reportOutage(error: unknown): void {
    this.#options.metrics.failures.inc();
    this.#unavailableSinceMs ??= performance.now();
    if (this.#isReported) return;
    this.#isReported = true;
    this.#options.metrics.outages.inc();
    this.#options.log.warn({ err: error }, 'postgres became unavailable');
  }

  #reportRecovery(): void {
    if (this.#unavailableSinceMs === undefined) return;
    const outageSeconds = (performance.now() - this.#unavailableSinceMs) / 1000;
    this.#unavailableSinceMs = undefined;
    if (this.#isReported) this.#options.log.info({ outageSeconds }, 'postgres recovered');
    else this.#options.log.info('postgres connected');
    this.#isReported = false;
  }
}
