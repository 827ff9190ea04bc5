/**
 * Runs a drain and a sweep for every sale in PostgreSQL that is not archived. The list of sales is read every second, and
 * at once after a hint that an operator changed a sale. While PostgreSQL is unavailable, the last list stays in use.
 */
import type { SaleStatus } from '../domain/sale.ts';
import { Semaphore } from '../process/semaphore.ts';
import type { PersisterContext } from './context.ts';
import { Loop } from './loop.ts';
import { RecoveryLog } from './recover/recovery-log.ts';
import { SaleDrain } from './sale-drain.ts';
import { SaleSweep } from './sale-sweep.ts';

const LIST_INTERVAL_MS = 1_000;

interface SaleWork {
  drain: SaleDrain;
  sweep: SaleSweep;
}

export class SaleWorkers {
  readonly #context: PersisterContext;
  readonly #recoveryLog: RecoveryLog;
  readonly #semaphore: Semaphore;
  readonly #sales = new Map<string, SaleWork>();
  readonly #runs = new Set<Promise<void>>();
  readonly #loop: Loop;

  constructor(context: PersisterContext, writersMax: number) {
    this.#context = context;
    this.#recoveryLog = new RecoveryLog(context);
    this.#semaphore = new Semaphore(writersMax);
    this.#loop = new Loop({
      turn: async () => {
        await this.#updateSales();
        return LIST_INTERVAL_MS;
      },
      onFailure: (error) => {
        throw error;
      },
      backoff: { firstMs: LIST_INTERVAL_MS, mostMs: LIST_INTERVAL_MS },
    }).stopWith(context.stopping);
  }

  /** Resolves after the stop, once every drain and sweep has finished its turn. */
  async run(): Promise<void> {
    await this.#loop.run();
    for (const work of this.#sales.values()) stop(work);
    await Promise.all(this.#runs);
  }

  /** An operator changed this sale: it may be new, or its stream may have entries. */
  hint(saleId: string): void {
    this.#sales.get(saleId)?.drain.wake();
    this.#loop.wake();
  }

  /** A Redis server became available: buyers may wait for a recovery. */
  wakeAll(): void {
    for (const { drain } of this.#sales.values()) drain.wake();
  }

  /** A sale that cannot be reached keeps its last measurement. */
  async measureLag(): Promise<void> {
    await Promise.allSettled([...this.#sales.values()].map(({ drain }) => drain.measureLag()));
  }

  async #updateSales(): Promise<void> {
    const sales = await this.#context.database.run(
      (sql) => sql<{ saleId: string; status: SaleStatus; isRecoveryRequested: boolean }[]>`
        SELECT sale_id, status, sale_id IN (SELECT sale_id FROM sale_recoveries WHERE state = 'requested')
          AS is_recovery_requested
        FROM sales WHERE archived_at IS NULL`,
    );
    for (const { saleId, status, isRecoveryRequested } of sales) {
      const work = this.#sales.get(saleId);
      work?.drain.update(status);
      if (isRecoveryRequested) work?.drain.reopen();
      work?.sweep.update(status);
      if (!work) this.#start(saleId, status);
    }
    const present = new Set(sales.map(({ saleId }) => saleId));
    for (const [saleId, work] of this.#sales) {
      if (present.has(saleId)) continue;
      stop(work);
      this.#sales.delete(saleId);
    }
  }

  #start(saleId: string, status: SaleStatus): void {
    const recoveryContext = { ...this.#context, recoveryLog: this.#recoveryLog };
    const drain = new SaleDrain(recoveryContext, saleId, status, this.#semaphore);
    const sweep = new SaleSweep(this.#context, saleId, status);
    this.#sales.set(saleId, { drain, sweep });
    for (const work of [drain, sweep]) {
      const run = work.run().finally(() => this.#runs.delete(run));
      this.#runs.add(run);
    }
  }
}

function stop({ drain, sweep }: SaleWork): void {
  drain.stop();
  sweep.stop();
}
