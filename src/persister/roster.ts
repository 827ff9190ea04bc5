/**
 * Which sales there are, as PostgreSQL has them, and one drain for each. Looked up every second; a hint from an
 * operator's change makes it prompt.
 */
import type { SaleStatus } from '../domain/sale.ts';
import { pause } from './backoff.ts';
import { Closing } from './database.ts';
import type { RecoveryTools } from './recover.ts';
import { SaleDrain } from './sale-drain.ts';
import { Slots } from './slots.ts';
import type { Timings } from './timings.ts';

const LOOK_UP_MS = 1_000;

export class Roster {
  readonly #tools: RecoveryTools;
  readonly #options: { consumer: string; timings: Timings; stopping: AbortSignal };
  readonly #slots: Slots;
  readonly #drains = new Map<string, SaleDrain>();
  readonly #runs = new Set<Promise<void>>();
  #hint = new AbortController();

  constructor(
    tools: RecoveryTools,
    options: { consumer: string; slotCount: number; timings: Timings; stopping: AbortSignal },
  ) {
    this.#tools = tools;
    this.#options = options;
    this.#slots = new Slots(options.slotCount);
  }

  /** Resolves when stopping, once every drain has finished what it was writing. */
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
      if (!(error instanceof Closing)) throw error;
    }
    for (const drain of this.#drains.values()) drain.stop();
    await Promise.all(this.#runs);
  }

  /** An operator changed this sale: it may be new, or have something to drain. */
  hint(saleId: string): void {
    this.#drains.get(saleId)?.wake();
    this.#hint.abort();
  }

  /** Of every sale that can be reached; one that cannot keeps what was measured last. */
  async measureLag(): Promise<void> {
    await Promise.allSettled([...this.#drains.values()].map((drain) => drain.measureLag()));
  }

  async #lookUp(): Promise<void> {
    const sales = await this.#tools.database.run(
      (sql) => sql<{ saleId: string; status: SaleStatus }[]>`SELECT sale_id, status FROM sales`,
    );
    for (const { saleId, status } of sales) {
      const drain = this.#drains.get(saleId);
      if (drain) drain.update(status);
      else this.#start(saleId, status);
    }
    const present = new Set(sales.map(({ saleId }) => saleId));
    for (const [saleId, drain] of this.#drains) {
      if (present.has(saleId)) continue;
      drain.stop();
      this.#drains.delete(saleId);
    }
  }

  #start(saleId: string, status: SaleStatus): void {
    const { consumer, timings } = this.#options;
    const drain = new SaleDrain(this.#tools, {
      saleId,
      status,
      consumer,
      timings,
      slots: this.#slots,
    });
    this.#drains.set(saleId, drain);
    const run = drain.run().finally(() => this.#runs.delete(run));
    this.#runs.add(run);
  }
}
