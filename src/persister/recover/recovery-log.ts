/**
 * The record of recoveries: a row with a report and an entry in the audit for each, how long it took as a metric, and
 * which sales are blocked, so that each is reported once and counted for as long as it lasts.
 */
import { nanoid } from 'nanoid';
import type { Logger } from 'pino';
import type { Transaction } from '../../postgres/connection.ts';
import type { Database } from '../database/database.ts';
import type { PersisterMetrics } from '../metrics.ts';

export type RecoveryOutcome = 'renewed' | 'rebuilt' | 'removed' | 'blocked';

/** Numbers and words for operators. */
export type RecoveryReport = Record<string, string | number>;

export interface FinishedRecovery {
  outcome: RecoveryOutcome;
  report: RecoveryReport;
  /** The newest request that was there when it began; 0: nobody had asked. Who asked later wants a later one. */
  request: number;
}

export class RecoveryLog {
  readonly #database: Database;
  readonly #log: Logger;
  readonly #metrics: PersisterMetrics;
  /** The sales that could not be recovered, each with the reason reported last. */
  readonly #blocked = new Map<string, string>();

  constructor(context: { database: Database; log: Logger; metrics: PersisterMetrics }) {
    this.#database = context.database;
    this.#log = context.log;
    this.#metrics = context.metrics;
  }

  async record(saleId: string, recovery: FinishedRecovery): Promise<void> {
    const { outcome, report, request } = recovery;
    if (outcome === 'blocked') {
      if (this.#block(saleId, String(report.why)) && request === 0) return;
      this.#log.error({ saleId, ...report }, 'a sale stays closed, it needs an operator');
    } else {
      this.#metrics.recoverySeconds.observe({ outcome }, Number(report.seconds));
      this.#log.warn({ saleId, outcome, ...report }, 'sale recovered');
      this.unblock(saleId);
    }
    await this.#database.run((sql) =>
      sql.begin((transaction) => write(transaction, saleId, recovery)),
    );
  }

  /** It is open. */
  unblock(saleId: string): void {
    this.#blocked.delete(saleId);
    this.#metrics.notRecovered.set(this.#blocked.size);
  }

  /** Whether it was known. */
  #block(saleId: string, why: string): boolean {
    const isKnown = this.#blocked.get(saleId) === why;
    this.#blocked.set(saleId, why);
    this.#metrics.notRecovered.set(this.#blocked.size);
    return isKnown;
  }
}

/** Finishes what operators had asked for; what nobody had asked for gets a row of its own. */
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
    rows = await transaction`
      INSERT INTO sale_recoveries (sale_id, actor, request_id, state, outcome, report, finished_at)
      VALUES (${saleId}, 'persister', ${`recovery-${nanoid(12)}`}, 'done', ${outcome}, ${details}, now())
      RETURNING actor, request_id, recovery_id`;
  }
  for (const { actor, requestId, recoveryId } of rows) {
    await transaction`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      VALUES (${actor}, 'recover', ${saleId}, ${requestId},
        ${transaction.json({ recoveryId, outcome, ...report })})`;
  }
}
