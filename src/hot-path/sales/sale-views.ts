/**
 * What this process knows of each sale: read from Redis on a timer and on hints, never on a buyer's request but
 * the first. Gates and `GET /v1/sales/{saleId}` are answered from here; counting is left to Redis.
 *
 * Only sales that exist are kept fresh. That there is none of an id is remembered just long enough to answer those
 * who ask at the same time, apart from the sales and bounded, so that invented ids push nothing out.
 */
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { Fault } from '../../domain/fault.ts';
import type { SaleDefinition } from '../../domain/sale.ts';
import { readSale, type SaleState } from '../../lua/read/read-sale.ts';
import type { Shards } from '../../redis/shards.ts';

/** No view that is shown to a buyer is older. */
export const VIEW_AGE_MS_MAX = 250;
const REFRESH_AGE_MS = 80;
const TICK_MS = 60;
/** A sale that nobody asks for is no longer read. */
const IDLE_MS = 10_000;
const SALES_MAX = 10_000;
const ABSENCES_MAX = 10_000;
/** Reads under way at once; whoever would be one more is told to come back. */
const READS_MAX = 500;

export interface SaleView {
  state: SaleState;
  /** The sale was opened on another server than the one that now answers: nothing is sold until it was checked. */
  isRecovering: boolean;
  /** On this process' monotonic clock. */
  readAt: number;
}

export type SaleLookup = { outcome: 'known'; view: SaleView } | Absence;
type Absence = { outcome: 'unknown_sale' | 'recovering' };

interface Entry {
  lookup: SaleLookup & { outcome: 'known' };
  /** When Redis was asked last, on this process' monotonic clock. */
  askedAt: number;
  /** Asked for since the timer looked last. */
  isUsed: boolean;
  usedAt: number;
}

export class SaleViews {
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #sales = new LRUCache<string, Entry>({ max: SALES_MAX });
  readonly #absences = new LRUCache<string, Absence>({ max: ABSENCES_MAX, ttl: VIEW_AGE_MS_MAX });
  /** Those that whoever wants to know of a sale may share; others may be under way besides. */
  readonly #reads = new Map<string, Promise<SaleLookup>>();
  #underWay = 0;
  /** Sales that were once more than a draft: if Redis forgets one of those, it is Redis that is wrong. */
  readonly #launched = new LRUCache<string, true>({ max: SALES_MAX });
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
  }

  /** What is known, at most `ageMsMax` old at `nowMs`; undefined when it has to be read first. */
  peek(saleId: string, ageMsMax: number, nowMs: number): SaleLookup | undefined {
    const entry = this.#sales.get(saleId);
    if (!entry) return this.#absences.get(saleId);
    const { lookup } = entry;
    if (nowMs - lookup.view.readAt > ageMsMax) return undefined;
    entry.isUsed = true;
    // No timer fires while more sockets are ready than one turn of the event loop looks at. Then a reply is late, too,
    // so the next reading is not put off until it is there.
    if (nowMs - entry.askedAt >= REFRESH_AGE_MS && this.#underWay < READS_MAX) {
      this.#read(saleId).catch(() => undefined);
    }
    return lookup;
  }

  /**
   * Reads the sale, together with everyone else who is waiting for it. Throws what Shards.call throws, and `busy`
   * when too many sales are being read.
   */
  read(saleId: string): Promise<SaleLookup> {
    const reading = this.#reads.get(saleId);
    if (reading) return reading;
    if (this.#underWay >= READS_MAX) return Promise.reject(new Fault('busy'));
    return this.#read(saleId);
  }

  /** A sale that this process has seen for sale and that Redis does not know has been forgotten, not removed. */
  wasLaunched(saleId: string): boolean {
    return this.#launched.has(saleId);
  }

  /** An operator changed it, it is said. */
  changed(saleId: string): void {
    this.#absences.delete(saleId);
    if (this.#sales.has(saleId)) void this.#refresh(saleId);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #refreshUsed(): void {
    const now = performance.now();
    for (const [saleId, entry] of this.#sales.entries()) {
      if (entry.isUsed) entry.usedAt = now;
      entry.isUsed = false;
      if (now - entry.usedAt > IDLE_MS) this.#sales.delete(saleId);
      else if (now - entry.askedAt >= REFRESH_AGE_MS) void this.#refresh(saleId);
    }
  }

  /** Whoever needs it will hear why it can't be read. */
  async #refresh(saleId: string): Promise<void> {
    await this.read(saleId).catch(() => undefined);
  }

  #read(saleId: string): Promise<SaleLookup> {
    const sentAt = performance.now();
    const entry = this.#sales.peek(saleId);
    if (entry) entry.askedAt = sentAt;
    this.#underWay++;
    const reading = this.#shards
      .call(readSale, saleId)
      .then((reply): SaleLookup => {
        if (reply.outcome === 'unknown_sale') {
          return this.#rememberAbsence(saleId, reply.isForgotten);
        }
        return this.#rememberSale(saleId, reply.state, reply.outcome === 'recovering', sentAt);
      })
      .finally(() => {
        this.#underWay--;
        if (this.#reads.get(saleId) === reading) this.#reads.delete(saleId);
      });
    this.#reads.set(saleId, reading);
    return reading;
  }

  #rememberAbsence(saleId: string, isForgotten: boolean): SaleLookup {
    const isThere = isForgotten || this.wasLaunched(saleId);
    const absence: Absence = { outcome: isThere ? 'recovering' : 'unknown_sale' };
    this.#sales.delete(saleId);
    this.#absences.set(saleId, absence);
    return absence;
  }

  #rememberSale(
    saleId: string,
    state: SaleState,
    isRecovering: boolean,
    sentAt: number,
  ): SaleLookup {
    if (state.definition.status !== 'draft') this.#launched.set(saleId, true);
    this.#checkInvariant(saleId, state);
    const known = this.#sales.peek(saleId);
    // A reading that was sent before the last one may come after it, by another connection.
    if (known && known.lookup.view.readAt > sentAt) return known.lookup;
    const lookup = { outcome: 'known', view: { state, isRecovering, readAt: sentAt } } as const;
    const { isUsed = false, usedAt = sentAt, askedAt = sentAt } = known ?? {};
    this.#sales.set(saleId, { lookup, askedAt, isUsed, usedAt });
    return lookup;
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
export function redisNowMs(view: SaleView, nowMs = performance.now()): number {
  return view.state.nowMs + (nowMs - view.readAt);
}

/** The items of a request that names none: one unit of the sale's only SKU. */
export function onlySkuOf(definition: SaleDefinition): string | undefined {
  return definition.skus.length === 1 ? definition.skus[0]!.sku : undefined;
}
