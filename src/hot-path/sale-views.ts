/**
 * What this process knows of each sale: read from Redis on a timer and on hints, never on a buyer's request but
 * the first. Gates and `GET /v1/sales/{saleId}` are answered from here; counting is left to Redis.
 */
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { SaleDefinition } from '../domain/sale.ts';
import { readSale, type SaleState } from '../lua/read-sale.ts';
import type { Shards } from '../redis/shards.ts';

/** No view that is shown to a buyer is older. */
export const VIEW_AGE_MS_MAX = 250;
const REFRESH_AGE_MS = 120;
const TICK_MS = 60;
/** A sale that nobody asks for is no longer read. */
const IDLE_MS = 10_000;
const VIEWS_MAX = 10_000;

export interface SaleView {
  state: SaleState;
  /** The sale was opened on another server than the one that now answers: nothing is sold until it was checked. */
  isRecovering: boolean;
  /** On this process' monotonic clock. */
  readAt: number;
}

export type Lookup =
  | { outcome: 'known'; view: SaleView }
  | { outcome: 'unknown_sale' | 'recovering' };

interface Entry {
  lookup: Lookup;
  readAt: number;
  usedAt: number;
  reading: Promise<Lookup> | undefined;
}

export class SaleViews {
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #entries = new LRUCache<string, Entry>({ max: VIEWS_MAX });
  /** Sales that were once more than a draft: if Redis forgets one of those, it is Redis that is wrong. */
  readonly #launched = new LRUCache<string, true>({ max: VIEWS_MAX });
  readonly #onBrokenInvariant: (saleId: string, sku: string) => void;
  readonly #timer: NodeJS.Timeout;

  constructor(
    shards: Shards,
    log: Logger,
    onBrokenInvariant: (saleId: string, sku: string) => void,
  ) {
    this.#shards = shards;
    this.#log = log;
    this.#onBrokenInvariant = onBrokenInvariant;
    this.#timer = setInterval(() => this.#refreshUsed(), TICK_MS);
    shards.onChanged((saleId) => {
      if (this.#entries.has(saleId)) void this.#read(saleId).catch(() => undefined);
    });
  }

  /** What is known, at most `ageMsMax` old; undefined when it has to be read first. */
  peek(saleId: string, ageMsMax: number): Lookup | undefined {
    const entry = this.#entries.get(saleId);
    if (!entry) return undefined;
    const now = performance.now();
    // What was not there may have been made since: an absence is believed only while it is fresh.
    const age = now - entry.readAt;
    if (age > ageMsMax || (entry.lookup.outcome !== 'known' && age > VIEW_AGE_MS_MAX))
      return undefined;
    entry.usedAt = now;
    return entry.lookup;
  }

  /** Reads the sale, together with everyone else who is waiting for it. Throws what Shards.call throws. */
  read(saleId: string): Promise<Lookup> {
    return this.#entries.get(saleId)?.reading ?? this.#read(saleId);
  }

  /** A sale that this process has seen for sale and that Redis does not know has been forgotten, not removed. */
  wasLaunched(saleId: string): boolean {
    return this.#launched.has(saleId);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #refreshUsed(): void {
    const now = performance.now();
    for (const [saleId, entry] of this.#entries.entries()) {
      if (entry.reading || now - entry.readAt < REFRESH_AGE_MS) continue;
      if (now - entry.usedAt > IDLE_MS) this.#entries.delete(saleId);
      else void this.#read(saleId).catch(() => undefined); // Whoever needs it will hear why it can't be read.
    }
  }

  #read(saleId: string): Promise<Lookup> {
    const before = this.#entries.peek(saleId);
    const reading = this.#shards.call(readSale, saleId, saleId).then((reply): Lookup => {
      if (reply.outcome === 'unknown_sale') {
        return { outcome: this.wasLaunched(saleId) ? 'recovering' : 'unknown_sale' };
      }
      if (reply.state.definition.status !== 'draft') this.#launched.set(saleId, true);
      this.#checkInvariant(saleId, reply.state);
      const isRecovering = reply.outcome === 'recovering';
      return {
        outcome: 'known',
        view: { state: reply.state, isRecovering, readAt: performance.now() },
      };
    });
    const now = performance.now();
    const entry: Entry = {
      lookup: before?.lookup ?? { outcome: 'unknown_sale' },
      readAt: before?.readAt ?? Number.NEGATIVE_INFINITY,
      usedAt: before?.usedAt ?? now,
      reading,
    };
    this.#entries.set(saleId, entry);
    return reading.then(
      (lookup) => {
        entry.lookup = lookup;
        entry.readAt = now;
        entry.reading = undefined;
        return lookup;
      },
      (error: unknown) => {
        entry.reading = undefined;
        throw error;
      },
    );
  }

  #checkInvariant(saleId: string, state: SaleState): void {
    for (const { sku, loaded, remaining, held, confirmed } of state.stock) {
      if (loaded === remaining + held + confirmed && remaining >= 0) continue;
      this.#log.fatal({ saleId, sku, loaded, remaining, held, confirmed }, 'stock does not add up');
      this.#onBrokenInvariant(saleId, sku);
    }
  }
}

/** Redis' clock as this process can tell it: the last reading plus what has passed since. */
export function redisNowMs(view: SaleView): number {
  return view.state.nowMs + (performance.now() - view.readAt);
}

/** The items of a request that names none: one unit of the sale's only SKU. */
export function onlySkuOf(definition: SaleDefinition): string | undefined {
  return definition.skus.length === 1 ? definition.skus[0]!.sku : undefined;
}
