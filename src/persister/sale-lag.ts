/**
 * How far PostgreSQL is behind one sale in Redis, as metrics and log messages: events that are not written, entries that
 * only another version can read, and events behind missing ones.
 */
import { examineSale } from '../lua/recover/examine-sale.ts';
import type { PersisterContext } from './context.ts';
import { forgetSale } from './metrics.ts';
import type { StreamConsumer } from './stream/consumer.ts';
import type { SortedEntries } from './stream/entries.ts';

/** Missing earlier events are reported after this time. */
const MISSING_MS_MAX = 30_000;
/** After this time the sale is checked again: a backup of PostgreSQL may have been restored. */
const MISSING_CHECK_MS = 2_000;

type Waiting = SortedEntries['waiting'];

export class SaleLag {
  readonly #context: PersisterContext;
  readonly #saleId: string;
  /** Ids of entries in a format version that this process does not read. */
  readonly #waiting = new Set<string>();
  readonly #unknownVersions = new Set<string>();
  #missingSinceMs: number | undefined;
  #events = 0;

  constructor(context: PersisterContext, saleId: string) {
    this.#context = context;
    this.#saleId = saleId;
  }

  /** Events that PostgreSQL does not have, as measured last. */
  get events(): number {
    return this.#events;
  }

  /** Throws errors of Redis. Returns what is damaged of the sale; then it measures nothing. */
  async measure(stream: StreamConsumer): Promise<string[]> {
    const found = await stream.server.call(examineSale, this.#saleId);
    const { events, drained, nowMs, damages } = found;
    if (found.isForgotten || events === undefined || drained === undefined) return damages;
    const oldestMs = found.keys.has('events') ? await stream.oldestMs() : undefined;
    const isDrained = oldestMs === undefined || events === drained;
    this.#set(events - drained, isDrained ? 0 : Math.max(0, nowMs - oldestMs) / 1000);
    for (const entryId of this.#waiting) {
      // A persister of a newer version has written entries that this one cannot read.
      if (oldestMs === undefined || Number(entryId.split('-')[0]) < oldestMs)
        this.#waiting.delete(entryId);
    }
    this.#measureWaiting();
    return damages;
  }

  /** These entries were tried; `waiting` are those of another format version, which stay pending. */
  tried(entryIds: readonly string[], waiting: Waiting): void {
    for (const entryId of entryIds) this.#waiting.delete(entryId);
    for (const { entryId, version } of waiting) {
      this.#waiting.add(entryId);
      if (this.#unknownVersions.has(version)) continue;
      this.#unknownVersions.add(version);
      this.#context.log.error(
        { saleId: this.#saleId, entryId, version, reason: 'unknown format version' },
        'entries left for a persister of another version',
      );
    }
    this.#measureWaiting();
  }

  /**
   * Events were found behind missing ones. A slow persister may hold those, or only a newer version can read them, or they
   * are lost. Returns true if that has lasted long enough to check the sale.
   */
  foundMissing(): boolean {
    const nowMs = performance.now();
    this.#missingSinceMs ??= nowMs;
    const sinceMs = nowMs - this.#missingSinceMs;
    if (sinceMs >= MISSING_MS_MAX) {
      this.#missingSinceMs = nowMs;
      this.#context.log.error(
        { saleId: this.#saleId, reason: 'earlier events of the sale are missing' },
        'events held back',
      );
    }
    return sinceMs >= MISSING_CHECK_MS;
  }

  foundNext(): void {
    this.#missingSinceMs = undefined;
  }

  /** PostgreSQL has everything. A sale at rest keeps no metrics of its own: such sales become ever more. */
  clear(isAtRest: boolean): void {
    if (isAtRest) {
      this.forget();
      return;
    }
    this.#set(0, 0);
    this.#waiting.clear();
    this.#measureWaiting();
  }

  forget(): void {
    this.#events = 0;
    forgetSale(this.#context.metrics, this.#saleId);
  }

  #set(events: number, seconds: number): void {
    this.#events = events;
    const { lagEvents, lagSeconds } = this.#context.metrics;
    lagEvents.set({ sale: this.#saleId }, events);
    lagSeconds.set({ sale: this.#saleId }, seconds);
  }

  #measureWaiting(): void {
    this.#context.metrics.waitingEntries.set({ sale: this.#saleId }, this.#waiting.size);
  }
}
