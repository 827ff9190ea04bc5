/**
 * Archives sales some days after their end, and writes the markers of archived sales that Redis does not have. Several
 * persisters share the work: each takes due sales by moving the time of their next attempt.
 */
import { nanoid } from 'nanoid';
import { archiveSale, writeMarker } from '../archive/archive-sale.ts';
import { Fault } from '../domain/fault.ts';
import type { Sql } from '../postgres/connection.ts';
import type { PersisterContext } from './context.ts';

/** Each is verified, so a round is bounded; the rest follows in later rounds. */
const SALES_PER_ROUND = 20;
const MARKERS_PER_ROUND = 1_000;
/** A hot path asks again for a sale that is not answered, so a burst is cut off rather than queued. */
const MISSED_MAX = 1_000;
const MISSED_DELAY_MS = 100;

const DAY_SECONDS = 86_400;

export class Archiver {
  readonly #context: PersisterContext;
  readonly #afterDays: number;
  readonly #missed = new Set<string>();
  #missedTimer: NodeJS.Timeout | undefined;

  constructor(context: PersisterContext, afterDays: number) {
    this.#context = context;
    this.#afterDays = afterDays;
    context.stopping.addEventListener('abort', () => clearTimeout(this.#missedTimer));
  }

  async round(): Promise<void> {
    const { database } = this.#context;
    // A process has died between the two servers, or Redis was unavailable.
    await this.#mark(
      await database.run(
        (sql) => sql<{ saleId: string }[]>`
          SELECT sale_id FROM sales WHERE archived_at IS NOT NULL AND archive_marked_at IS NULL
          LIMIT ${MARKERS_PER_ROUND}`,
      ),
    );
    for (const sale of await database.run((sql) => this.#takeDue(sql))) {
      if (this.#context.stopping.aborted) return;
      await this.#archive(sale);
    }
  }

  /** A hot path was asked for a sale that Redis does not have open. */
  missed(saleId: string): void {
    if (this.#missed.size >= MISSED_MAX || this.#context.stopping.aborted) return;
    this.#missed.add(saleId);
    this.#missedTimer ??= setTimeout(() => {
      this.#missedTimer = undefined;
      const saleIds = [...this.#missed];
      this.#missed.clear();
      this.#markArchivedOf(saleIds).catch((err: unknown) =>
        this.#context.log.warn({ err }, 'markers of archived sales not written'),
      );
    }, MISSED_DELAY_MS);
  }

  async #markArchivedOf(saleIds: readonly string[]): Promise<void> {
    const { database } = this.#context;
    await this.#mark(
      await database.run(
        (sql) => sql<{ saleId: string }[]>`
          SELECT sale_id FROM sales WHERE archived_at IS NOT NULL AND sale_id = ANY(${sql.array([...saleIds])})`,
      ),
    );
  }

  async #mark(sales: readonly { saleId: string }[]): Promise<void> {
    const { database, shards } = this.#context;
    for (const { saleId } of sales) {
      await database.runOnce((sql) => writeMarker({ sql, shards }, saleId));
    }
  }

  #takeDue(sql: Sql) {
    const { archive } = this.#context.timings;
    return sql<DueSale[]>`
      UPDATE sales SET archive_retry_at = now() + make_interval(secs => ${archive.retryMs / 1_000})
      WHERE sale_id IN (
        SELECT sale_id FROM sales
        WHERE archived_at IS NULL AND status <> 'draft'
          AND least(ends_at, CASE WHEN status = 'ended' THEN updated_at END)
            < now() - make_interval(secs => ${this.#afterDays * DAY_SECONDS})
          AND coalesce(archive_retry_at, '-infinity') <= now()
        ORDER BY coalesce(archive_retry_at, '-infinity') LIMIT ${SALES_PER_ROUND} FOR UPDATE SKIP LOCKED)
      RETURNING sale_id, archive_blocked_by`;
  }

  async #archive({ saleId, archiveBlockedBy }: DueSale): Promise<void> {
    const { database, shards, log, metrics } = this.#context;
    const caller = { actor: 'persister', requestId: `archive-${nanoid(12)}` };
    const result = await database
      .runOnce((sql) => archiveSale({ sql, shards }, saleId, caller))
      .catch((error: unknown) => {
        if (error instanceof Fault)
          return { outcome: 'impossible', reason: 'unavailable' } as const;
        throw error;
      });
    if (result.outcome === 'unknown_sale') return;
    if (result.outcome === 'archived') {
      metrics.archiveAttempts.inc({ outcome: 'archived' });
      log.info({ saleId }, 'sale archived');
      return;
    }
    const { reason } = result;
    metrics.archiveAttempts.inc({ outcome: reason });
    if (reason !== archiveBlockedBy)
      log.warn({ saleId, reason }, 'sale not archived, trying later');
    await database.run(
      (sql) => sql`UPDATE sales SET archive_blocked_by = ${reason} WHERE sale_id = ${saleId}`,
    );
  }
}

interface DueSale {
  saleId: string;
  archiveBlockedBy: string | null;
}
