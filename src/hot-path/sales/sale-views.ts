/**
 * Cached views of sales. A timer and hints from Redis refresh them; only the first request for a sale waits for Redis.
 * Early checks and `GET /v1/sales/{saleId}` use these views. Only Redis decides about stock.
 *
 * Only existing sales are refreshed. Unknown ids are cached for 250 ms in a separate bounded cache, so that requests
 * for invented ids evict no sale.
 */
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { Fault } from '../../domain/fault.ts';
import type { SaleDefinition } from '../../domain/sale.ts';
import { readSale, type SaleState } from '../../lua/read/read-sale.ts';
import { endDueHolds } from '../../redis/due-holds.ts';
import type { Shards } from '../../redis/shards.ts';

/** The maximum age of a view in a response. */
export const VIEW_AGE_MS_MAX = 250;
const REFRESH_AGE_MS = 80;
const TICK_MS = 60;
/** A sale without requests for this long is no longer refreshed. */
const IDLE_MS = 10_000;
const SALES_MAX = 10_000;
const ABSENCES_MAX = 10_000;
/** Between two requests for the recovery of a sale. */
const REQUESTED_MS = 500;
/** An archived sale stays archived, so its requests cost Redis next to nothing. */
const ARCHIVED_MS = 10_000;
/** Missed sales that are announced per second; the others are announced when they are requested again. */
const MISSED_MAX = 50;
const MISSED_WINDOW_MS = 1_000;
/** Concurrent reads; more are refused. */
const READS_MAX = 500;

export interface SaleView {
  state: SaleState;
  /** The sale was opened on another server than the current one: nothing is sold until recovery has checked it. */
  isRecovering: boolean;
  /** When the read was sent, on this process' monotonic clock. The view is at most this old. */
  readAt: number;
  /** When its reply was received. */
  receivedAt: number;
}

export type SaleLookup = { outcome: 'known'; view: SaleView } | Absence;
/** `sale_ended`: it is archived. */
type Absence = { outcome: 'unknown_sale' | 'recovering' | 'sale_ended' };

interface Entry {
  lookup: SaleLookup & { outcome: 'known' };
  /** When the last read was sent, on this process' monotonic clock. */
  readSentAt: number;
  /** Used since the last tick of the timer. */
  isUsed: boolean;
  usedAt: number;
}

export class SaleViews {
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #sales = new LRUCache<string, Entry>({ max: SALES_MAX });
  readonly #absences = new LRUCache<string, Absence>({ max: ABSENCES_MAX, ttl: VIEW_AGE_MS_MAX });
  /** The newest read in flight of each sale, shared by all callers. */
  readonly #reads = new Map<string, Promise<SaleLookup>>();
  #inFlight = 0;
  /** Sales announced as missed in the current window. */
  readonly #missed = new Set<string>();
  #missedSinceMs = Number.NEGATIVE_INFINITY;
  /** Sales seen with a status other than draft. If Redis does not have one of them, Redis lost its data. */
  readonly #launched = new LRUCache<string, true>({ max: SALES_MAX });
  readonly #requested = new LRUCache<string, true>({ max: SALES_MAX, ttl: REQUESTED_MS });
  readonly #onBrokenInvariant: (saleId: string, sku: string) => void;
  readonly #timer = setInterval(() => this.#refreshUsed(), TICK_MS);

  constructor(
    shards: Shards,
    log: Logger,
    onBrokenInvariant: (saleId: string, sku: string) => void,
  ) {
    this.#shards = shards;
    this.#log = log;
    this.#onBrokenInvariant = onBrokenInvariant;
  }

  /** The cached view if it is at most `ageMsMax` old at `nowMs`; undefined: the sale must be read first. */
  peek(saleId: string, ageMsMax: number, nowMs: number): SaleLookup | undefined {
    const entry = this.#sales.get(saleId);
    if (!entry) return this.#absences.get(saleId);
    const { lookup } = entry;
    if (nowMs - lookup.view.readAt > ageMsMax) return undefined;
    entry.isUsed = true;
    // Timers starve while many sockets are ready, so requests refresh a stale view too. Replies are late at such
    // times, so the next read does not wait for the reply to the last one.
    if (nowMs - entry.readSentAt >= REFRESH_AGE_MS && this.#inFlight < READS_MAX) {
      this.#read(saleId).catch(() => undefined);
    }
    return lookup;
  }

  /**
   * Reads the sale; concurrent callers share one read. Throws the faults of Shards.call, and `busy` if too many reads
   * are in flight.
   */
  read(saleId: string): Promise<SaleLookup> {
    const reading = this.#reads.get(saleId);
    if (reading) return reading;
    if (this.#inFlight >= READS_MAX) return Promise.reject(new Fault('busy'));
    return this.#read(saleId);
  }

  /**
   * Whether a sale that Redis does not have does not exist. False: Redis lost it, or may have lost it, and recovery
   * restores it. Throws the faults of a call.
   */
  async isAbsent(saleId: string): Promise<boolean> {
    const isNew = this.announceMissed(saleId);
    const wasLaunched = this.#launched.has(saleId);
    if (!wasLaunched && (await this.#shards.hasEverySale(saleId))) return true;
    // An id that nobody has seen may be an invented one, so only a few are requested.
    if (wasLaunched || isNew) this.requestRecovery(saleId);
    return false;
  }

  /** Asks the persisters to recover this sale before those that nobody waits for. */
  requestRecovery(saleId: string): void {
    if (this.#requested.has(saleId)) return;
    this.#requested.set(saleId, true);
    this.#shards.publishWork(saleId).catch(() => undefined);
  }

  /** The sale has changed, and a read in flight may not show it. */
  changed(saleId: string): void {
    this.#absences.delete(saleId);
    if (!this.#sales.has(saleId) || this.#inFlight >= READS_MAX) return;
    this.#read(saleId).catch(() => undefined);
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
      else if (now - entry.readSentAt >= REFRESH_AGE_MS) void this.#refresh(saleId);
    }
  }

  /** Ignores failures: a request that needs the sale reports them. */
  async #refresh(saleId: string): Promise<void> {
    await this.read(saleId).catch(() => undefined);
  }

  #read(saleId: string): Promise<SaleLookup> {
    const sentAt = performance.now();
    const entry = this.#sales.peek(saleId);
    if (entry) entry.readSentAt = sentAt;
    this.#inFlight++;
    const reading = this.#shards
      .call(readSale, saleId)
      .then((reply): SaleLookup | Promise<SaleLookup> => {
        if (reply.outcome === 'unknown_sale') return this.#storeAbsence(saleId, reply);
        if (reply.outcome === 'recovering') this.announceMissed(saleId);
        return this.#storeSale(saleId, reply.state, reply.outcome === 'recovering', sentAt);
      })
      .catch((error: unknown) => this.#storeDamaged(saleId, error))
      .finally(() => {
        this.#inFlight--;
        if (this.#reads.get(saleId) === reading) this.#reads.delete(saleId);
      });
    this.#reads.set(saleId, reading);
    return reading;
  }

  async #storeAbsence(
    saleId: string,
    { isForgotten, isArchived }: { isForgotten: boolean; isArchived: boolean },
  ): Promise<SaleLookup> {
    this.#sales.delete(saleId);
    if (isArchived) {
      const ended: Absence = { outcome: 'sale_ended' };
      this.#absences.set(saleId, ended, { ttl: ARCHIVED_MS });
      return ended;
    }
    if (isForgotten) {
      this.announceMissed(saleId);
      this.requestRecovery(saleId);
    }
    const isAbsent = !isForgotten && (await this.isAbsent(saleId));
    const absence: Absence = { outcome: isAbsent ? 'unknown_sale' : 'recovering' };
    this.#absences.set(saleId, absence);
    return absence;
  }

  /** A sale that cannot be read is damaged. A persister rebuilds it; a view from before must not sell it. */
  #storeDamaged(saleId: string, error: unknown): SaleLookup {
    const isDamaged =
      error instanceof Fault &&
      (error.code === 'script_failed' || error.code === 'reply_malformed');
    if (!isDamaged) throw error;
    this.#sales.delete(saleId);
    this.requestRecovery(saleId);
    const absence: Absence = { outcome: 'recovering' };
    this.#absences.set(saleId, absence);
    return absence;
  }

  /** The sale may be archived, and this server may have lost its marker. False: it was announced, or too many were. */
  announceMissed(saleId: string): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#missedSinceMs > MISSED_WINDOW_MS) {
      this.#missed.clear();
      this.#missedSinceMs = nowMs;
    }
    if (this.#missed.has(saleId) || this.#missed.size >= MISSED_MAX) return false;
    this.#missed.add(saleId);
    this.#shards.publishMissed(saleId).catch(() => undefined);
    return true;
  }

  #storeSale(saleId: string, state: SaleState, isRecovering: boolean, sentAt: number): SaleLookup {
    if (state.definition.status !== 'draft') this.#launched.set(saleId, true);
    if (isRecovering) this.requestRecovery(saleId);
    else if (hasDueHolds(state, state.nowMs)) void this.#endDueHolds(saleId);
    this.#checkInvariant(saleId, state);
    const known = this.#sales.peek(saleId);
    // On another connection, an older read can return after a newer one.
    if (known && known.lookup.view.readAt > sentAt) return known.lookup;
    const view = { state, isRecovering, readAt: sentAt, receivedAt: performance.now() };
    const lookup = { outcome: 'known', view } as const;
    const { isUsed = false, usedAt = sentAt, readSentAt = sentAt } = known ?? {};
    this.#sales.set(saleId, { lookup, readSentAt, isUsed, usedAt });
    return lookup;
  }

  /** No persister runs, or this view was read just before it swept. */
  async #endDueHolds(saleId: string): Promise<void> {
    await endDueHolds(this.#shards, saleId).catch(() => undefined);
    await this.#refresh(saleId);
  }

  #checkInvariant(saleId: string, state: SaleState): void {
    for (const { sku, loaded, remaining, held, confirmed } of state.stock) {
      if (loaded === remaining + held + confirmed && remaining >= 0) continue;
      this.#log.fatal(
        { saleId, sku, loaded, remaining, held, confirmed },
        'stock invariant violated',
      );
      this.#onBrokenInvariant(saleId, sku);
    }
  }
}

/** A hold is past its deadline at this time of Redis, so more units may be on sale than the counts say. */
export function hasDueHolds({ nextDeadlineMs }: SaleState, nowMs: number): boolean {
  return nextDeadlineMs !== 0 && nextDeadlineMs <= nowMs;
}

/**
 * The clock of Redis at the latest: its time at the last read, plus the time since that read was sent. By this clock no
 * buyer is refused whom Redis might accept.
 */
export function redisNowMs(view: SaleView, nowMs = performance.now()): number {
  return view.state.nowMs + (nowMs - view.readAt);
}

/**
 * The clock of Redis at the earliest: its time at the last read, plus the time since the reply was received. Buyers are
 * shown this clock: who buys when it reaches the start is not too early for Redis.
 */
export function shownTimeMs({ state, receivedAt }: SaleView): number {
  return state.nowMs + (performance.now() - receivedAt);
}

/** The SKU of a request that names none; undefined if the sale has several. */
export function onlySkuOf(definition: SaleDefinition): string | undefined {
  return definition.skus.length === 1 ? definition.skus[0]!.sku : undefined;
}
