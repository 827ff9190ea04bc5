/**
 * Runs a drain and a sweep for every sale in PostgreSQL. The list of sales is read every second, and at once after a
 * hint that an operator changed a sale. While PostgreSQL is unavailable, the last list stays in use.
 */
import type { SaleStatus } from '../domain/sale.ts';
import { Semaphore } from '../process/semaphore.ts';
import { Loop } from './loop.ts';
import type { RecoveryContext } from './recover/recover.ts';
import { SaleDrain } from './sale-drain.ts';
import { SaleSweep } from './sale-sweep.ts';
import type { Timings } from './timings.ts';

const LIST_INTERVAL_MS = 1_000;

interface SaleWork {
  drain: SaleDrain;
  sweep: SaleSweep;
}

export class SaleWorkers {
  readonly #context: RecoveryContext;
  readonly #options: { consumer: string; timings: Timings };
  readonly #semaphore: Semaphore;
  readonly #sales = new Map<string, SaleWork>();
  readonly #runs = new Set<Promise<void>>();
  readonly #loop: Loop;

  constructor(
    context: RecoveryContext,
    options: { consumer: string; writersMax: number; timings: Timings; stopping: AbortSignal },
  ) {
    this.#context = context;
    this.#options = options;
    this.#semaphore = new Semaphore(options.writersMax);
    this.#loop = new Loop({
      turn: async () => {
        await this.#updateSales();
        return LIST_INTERVAL_MS;
      },
      onFailure: (error) => {
        throw error;
      },
      backoff: { firstMs: LIST_INTERVAL_MS, mostMs: LIST_INTERVAL_MS },
    }).stopWith(options.stopping);
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
        FROM sales`,
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
    const { consumer, timings } = this.#options;
    const drain = new SaleDrain(this.#context, {
      saleId,
      status,
      consumer,
      timings,
      semaphore: this.#semaphore,
    });
    const sweep = new SaleSweep(this.#context, { saleId, status, restMs: timings.restMs });
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
