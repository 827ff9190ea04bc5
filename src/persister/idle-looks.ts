/**
 * Looks at the sales whose drain sleeps. A hint that announces their events can be lost, and their sweeps may be minutes
 * apart. So their counters are read too, in pipelines: one cheap command for each sale, spread over the interval.
 * A sale that has events to drain or is closed is swept, and the sweep wakes the drain.
 */
import { saleKey } from '../lua/keys.ts';
import type { Shard } from '../redis/shard.ts';
import type { PersisterContext } from './context.ts';
import { Loop } from './loop.ts';
import type { SaleDrain } from './sale-drain.ts';
import type { SaleSweep } from './sale-sweep.ts';

/** Between two pipelines. */
const STEP_MS = 250;
/** In one pipeline. With more than 10,000 idle sales, a round takes longer than 10 s instead of costing more. */
const SALES_PER_STEP_MAX = 250;

export interface Looked {
  drain: SaleDrain;
  sweep: SaleSweep;
}

export class IdleLooks {
  readonly #context: PersisterContext;
  readonly #sales: ReadonlyMap<string, Looked>;
  readonly #loop: Loop;
  /** What is left of the current round. */
  #left: string[] = [];
  #perStep = 0;
  #nextRoundMs = 0;

  constructor(context: PersisterContext, sales: ReadonlyMap<string, Looked>) {
    this.#context = context;
    this.#sales = sales;
    this.#loop = new Loop({
      turn: async () => {
        await this.#step();
        return STEP_MS;
      },
      // The connection reports its own failures, and all sales are swept when a server is available again.
      onFailure: () => undefined,
      backoff: { firstMs: STEP_MS, mostMs: STEP_MS },
    }).stopWith(context.stopping);
  }

  /** Resolves once stopped. */
  run(): Promise<void> {
    return this.#loop.run();
  }

  async #step(): Promise<void> {
    const nowMs = performance.now();
    if (this.#left.length === 0 && nowMs >= this.#nextRoundMs) this.#beginRound(nowMs);
    const looked = this.#left.splice(0, this.#perStep).flatMap((saleId) => {
      const work = this.#sales.get(saleId);
      return work?.drain.isAsleep ? [{ saleId, ...work }] : [];
    });
    const byShard = Map.groupBy(looked, ({ saleId }) => this.#context.shards.of(saleId));
    await Promise.allSettled(Array.from(byShard, ([shard, sales]) => look(shard, sales)));
  }

  #beginRound(nowMs: number): void {
    const { backlogLookMs } = this.#context.timings;
    const sleeping = [...this.#sales].filter(([, work]) => work.drain.isAsleep);
    this.#left = sleeping.map(([saleId]) => saleId);
    this.#nextRoundMs = nowMs + backlogLookMs;
    const steps = Math.max(1, backlogLookMs / STEP_MS);
    this.#perStep = Math.min(SALES_PER_STEP_MAX, Math.ceil(this.#left.length / steps));
  }
}

async function look(shard: Shard, sales: readonly (Looked & { saleId: string })[]): Promise<void> {
  const { runId } = shard;
  if (runId === undefined) return;
  const pipeline = shard.client.pipeline();
  for (const { saleId } of sales)
    pipeline.hmget(saleKey(saleId, 'sale'), 'fence', 'status', 'events', 'drained');
  const replies = (await pipeline.exec()) ?? [];
  for (const [index, { sweep }] of sales.entries()) {
    const [error, fields] = replies[index]!;
    // Of another type: damaged.
    const [fence, status, events, drained] = error ? [''] : (fields as (string | null)[]);
    // Redis does not have the sale, or only its marker.
    if (fence === null || status === 'archived') continue;
    if (fence !== runId || events !== drained) sweep.hint();
  }
}
