/**
 * Which sales there are, as PostgreSQL has them, and for each a drain and a sweep. Looked up every second; a hint
 * from an operator's change makes it prompt. While PostgreSQL is away the last known list stands, and is swept on.
 */
import type { SaleStatus } from '../domain/sale.ts';
import { pause } from '../process/backoff.ts';
import { Semaphore } from '../process/semaphore.ts';
import { StoppingError } from './database/database.ts';
import type { RecoveryContext } from './recover/recover.ts';
import { SaleDrain } from './sale-drain.ts';
import { SaleSweep } from './sale-sweep.ts';
import type { Timings } from './timings.ts';

const LOOK_UP_MS = 1_000;

interface SaleWork {
  drain: SaleDrain;
  sweep: SaleSweep;
}

export class SaleWorkers {
  readonly #context: RecoveryContext;
  readonly #options: { consumer: string; timings: Timings; stopping: AbortSignal };
  readonly #semaphore: Semaphore;
  readonly #sales = new Map<string, SaleWork>();
  readonly #runs = new Set<Promise<void>>();
  #hint = new AbortController();

  constructor(
    context: RecoveryContext,
    options: { consumer: string; writersMax: number; timings: Timings; stopping: AbortSignal },
  ) {
    this.#context = context;
    this.#options = options;
    this.#semaphore = new Semaphore(options.writersMax);
  }

  /** Resolves when stopping, once every drain and sweep has finished what it was at. */
  async run(): Promise<void> {
    const { stopping } = this.#options;
    stopping.addEventListener('abort', () => this.#hint.abort(), { once: true });
    try {
      while (!stopping.aborted) {
        await this.#lookUp();
        this.#hint = new AbortController();
        if (!stopping.aborted) await pause(LOOK_UP_MS, this.#hint.signal);
      }
    } catch (error) {
      if (!(error instanceof StoppingError)) throw error;
    }
    for (const work of this.#sales.values()) stop(work);
    await Promise.all(this.#runs);
  }

  /** An operator changed this sale: it may be new, or have something to drain. */
  hint(saleId: string): void {
    this.#sales.get(saleId)?.drain.wake();
    this.#hint.abort();
  }

  /** A server came (back): sales may have to be opened again, and buyers wait for that. */
  wakeAll(): void {
    for (const { drain } of this.#sales.values()) drain.wake();
  }

  /** Of every sale that can be reached; one that cannot keeps what was measured last. */
  async measureLag(): Promise<void> {
    await Promise.allSettled([...this.#sales.values()].map(({ drain }) => drain.measureLag()));
  }

  async #lookUp(): Promise<void> {
    const sales = await this.#context.database.run(
      (sql) => sql<{ saleId: string; status: SaleStatus; isRecoveryWanted: boolean }[]>`
        SELECT sale_id, status, sale_id IN (SELECT sale_id FROM sale_recoveries WHERE state = 'requested')
          AS is_recovery_wanted
        FROM sales`,
    );
    for (const { saleId, status, isRecoveryWanted } of sales) {
      const work = this.#sales.get(saleId);
      work?.drain.update(status);
      if (isRecoveryWanted) work?.drain.reopen();
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
