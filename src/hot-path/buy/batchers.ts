/** The batchers of this process: one per sale, created by the first purchase and dropped when idle. */
import type { Logger } from 'pino';
import { positionAndTagOf } from '../../domain/reservation-codec.ts';
import type { ReserveOutcome, ReserveRequest } from '../../lua/buy/reserve.ts';
import type { Shards } from '../../redis/shards.ts';
import type { HotPathMetrics } from '../metrics/hot-path-metrics.ts';
import type { MemoryPressure } from '../sales/memory-pressure.ts';
import { Batcher, type BatcherLimits, type QueuedPurchase } from './batcher.ts';

const DROP_IDLE_INTERVAL_MS = 10_000;

type QueueLimits = Omit<BatcherLimits, 'backlogMax'> & { backlogMax: number };

/** Records the script call of purchases whose requests were recorded. */
interface PurchaseTracer {
  decided(saleId: string, batch: readonly { readonly span?: unknown }[], seconds: number): void;
}

export interface BatchersContext {
  shards: Shards;
  memoryPressure: MemoryPressure;
  /** Undefined while traces are off. */
  tracer: PurchaseTracer | undefined;
  limits: QueueLimits;
  metrics: HotPathMetrics;
  log: Logger;
  onDecided: (
    saleId: string,
    batch: readonly QueuedPurchase[],
    outcomes: readonly ReserveOutcome[],
  ) => void;
  /** The script failed on the data of the sale. */
  onDamaged: (saleId: string) => void;
}

export class Batchers {
  readonly #context: BatchersContext;
  readonly #bySale = new Map<string, Batcher>();
  readonly #timer = setInterval(() => this.#dropIdle(), DROP_IDLE_INTERVAL_MS).unref();

  constructor(context: BatchersContext) {
    this.#context = context;
  }

  of(saleId: string): Batcher {
    let batcher = this.#bySale.get(saleId);
    if (!batcher) {
      const { shards, memoryPressure, tracer, metrics, log, onDecided, onDamaged } = this.#context;
      const limits = {
        ...this.#context.limits,
        backlogMax: () => (memoryPressure.isHigh(saleId) ? 0 : this.#context.limits.backlogMax),
      };
      batcher = new Batcher(saleId, shards, limits, {
        decided: (tag, batch, outcomes, seconds) => {
          metrics.reserveCalled(batch.length, seconds);
          tracer?.decided(saleId, batch, seconds);
          this.#logDecisions(saleId, tag, batch, outcomes);
          onDecided(saleId, batch, outcomes);
        },
        faulted: (fault, size) => {
          metrics.faulted(fault.code);
          log.warn({ saleId, buyers: size, err: fault }, 'batch not decided');
          if (fault.code === 'script_failed') onDamaged(saleId);
        },
        failed: (error) => {
          metrics.handlerFailed();
          log.error({ saleId, err: error }, 'batch not recorded');
        },
      });
      this.#bySale.set(saleId, batcher);
    }
    return batcher;
  }

  /** Queued purchases of all sales. */
  get waiting(): number {
    let waiting = 0;
    for (const batcher of this.#bySale.values()) waiting += batcher.waiting;
    return waiting;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /**
   * Logs which request got which reservation, in one message per batch, because one per purchase would cost more than
   * the decision. The n-th reserved request has the position `from` + n − 1. A reservation id consists of the sale id,
   * the position and the tag, joined by `_`.
   */
  #logDecisions(
    saleId: string,
    tag: string,
    batch: readonly ReserveRequest[],
    outcomes: readonly ReserveOutcome[],
  ): void {
    const { log } = this.#context;
    if (!log.isLevelEnabled('info')) return;
    const reserved: string[] = [];
    const replayed: string[] = [];
    let from = 0;
    for (let i = 0; i < outcomes.length; i++) {
      const result = outcomes[i]!;
      if (result.outcome === 'reserved') {
        if (from === 0) from = result.position;
        reserved.push(batch[i]!.requestId);
      } else if (result.outcome === 'replayed') {
        replayed.push(`${batch[i]!.requestId}=${positionAndTagOf(result.record)}`);
      }
    }
    if (from > 0) log.info({ saleId, tag, from, reserved: reserved.join(' ') }, 'batch decided');
    if (replayed.length > 0)
      log.info({ saleId, replayed: replayed.join(' ') }, 'purchases replayed');
  }

  #dropIdle(): void {
    for (const [saleId, batcher] of this.#bySale) if (batcher.isIdle) this.#bySale.delete(saleId);
  }
}
