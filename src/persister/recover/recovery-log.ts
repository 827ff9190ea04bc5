/**
 * Records recoveries: a row with a report, an audit entry and a metric for each finished one; a log message for each new
 * reason why one was postponed or is blocked.
 */
import { nanoid } from 'nanoid';
import { inTransaction, type Transaction } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';

export interface Result {
  /** `removed`: no operation was ever applied, so there is nothing to sell. `blocked`: the report says `why`. */
  outcome: 'renewed' | 'rebuilt' | 'removed' | 'blocked';
  /** Numbers and words for operators. */
  report: Record<string, string | number>;
}

export interface FinishedRecovery extends Result {
  /** The newest open request when the recovery began; 0: none. A later request needs another recovery. */
  request: number;
}

/** Why a recovery must be tried again later. */
export type RetryReason =
  /** Another process recovers the sale, writes its events or applies an operation. */
  | 'lock_held'
  | 'already_open'
  | 'sale_deleted'
  /** A replica was promoted less than its grace period ago. */
  | 'old_master_may_still_decide'
  | 'connection_lost'
  | 'redis_forgot_the_sale'
  | 'redis_behind_postgres'
  | 'closed_by_another_recovery'
  /** Another recovery began a timeline. */
  | 'timeline_changed'
  /** A recovery that lost its locks committed events after the comparison. */
  | 'events_written_meanwhile'
  | 'rebuild_superseded';

export interface Retry {
  outcome: 'retry';
  reason: RetryReason;
}

export function retry(reason: RetryReason): Retry {
  return { outcome: 'retry', reason };
}

export class RecoveryLog {
  readonly #context: PersisterContext;
  /** The sales that are blocked, each with the cause reported last. */
  readonly #blocked = new Map<string, unknown>();
  /** The sales whose recovery was postponed, each with the reasons so far, the current one last. */
  readonly #postponed = new Map<string, RetryReason[]>();
  /** The sales that are damaged, each with what was reported last. */
  readonly #damaged = new Map<string, string>();

  constructor(context: PersisterContext) {
    this.#context = context;
  }

  /** Logs each change of the reason once, however often the recovery is tried. */
  postponed(saleId: string, reason: RetryReason): void {
    const reasons = this.#postponed.get(saleId) ?? [];
    if (reasons.at(-1) === reason) return;
    this.#postponed.set(saleId, [...reasons.filter((one) => one !== reason), reason]);
    this.#context.log.info({ saleId, reason }, 'recovery postponed');
  }

  /** Logs and counts what is damaged of a sale once, however often its recovery is tried. */
  damaged(saleId: string, damages: readonly string[]): void {
    const reason = damages.join(', ');
    if (this.#damaged.get(saleId) === reason) return;
    this.#damaged.set(saleId, reason);
    this.#context.metrics.damages.inc();
    this.#context.log.error({ saleId, reason }, 'damage found in redis');
  }

  async record(saleId: string, recovery: FinishedRecovery): Promise<void> {
    const { database, log, metrics } = this.#context;
    const { outcome, request } = recovery;
    const postponedBy = this.#postponed.get(saleId)?.join(', ');
    const report: Result['report'] = { ...recovery.report, ...(postponedBy && { postponedBy }) };
    this.#postponed.delete(saleId);
    if (outcome === 'blocked') {
      const { why: reason, ...details } = report;
      const isKnown = this.#blocked.get(saleId) === reason;
      this.#blocked.set(saleId, reason);
      metrics.notRecovered.set(this.#blocked.size);
      if (isKnown && request === 0) return;
      log.error({ saleId, ...details, reason }, 'recovery blocked, an operator must act');
    } else {
      metrics.recoverySeconds.observe({ outcome }, Number(report.seconds));
      log.warn({ saleId, outcome, ...report }, 'sale recovered');
      this.opened(saleId);
    }
    await database.run((sql) =>
      inTransaction(sql, (transaction) => write(transaction, saleId, { outcome, report, request })),
    );
  }

  opened(saleId: string): void {
    this.#postponed.delete(saleId);
    this.#damaged.delete(saleId);
    this.#blocked.delete(saleId);
    this.#context.metrics.notRecovered.set(this.#blocked.size);
  }
}

/** Completes the operators' requests that the recovery covers, or inserts a row if there was none. */
async function write(
  transaction: Transaction,
  saleId: string,
  { outcome, report, request }: FinishedRecovery,
): Promise<void> {
  const details = transaction.json(report);
  let rows = await transaction<{ actor: string; requestId: string; recoveryId: number }[]>`
    UPDATE sale_recoveries
    SET state = 'done', outcome = ${outcome}, report = ${details}, finished_at = now()
    WHERE sale_id = ${saleId} AND state = 'requested' AND recovery_id <= ${request}
    RETURNING actor, request_id, recovery_id`;
  if (rows.length === 0) {
    // A sale that was removed meanwhile keeps no row.
    rows = await transaction`
      INSERT INTO sale_recoveries (sale_id, actor, request_id, state, outcome, report, finished_at)
      SELECT sale_id, 'persister', ${`recovery-${nanoid(12)}`}::text, 'done', ${outcome}::text, ${details}::jsonb, now()
      FROM sales WHERE sale_id = ${saleId} FOR KEY SHARE
      RETURNING actor, request_id, recovery_id`;
  }
  for (const { actor, requestId, recoveryId } of rows) {
    await transaction`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      VALUES (${actor}, 'recover', ${saleId}, ${requestId},
        ${transaction.json({ recoveryId, outcome, ...report })})`;
  }
}
