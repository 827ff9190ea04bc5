/**
 * What of a sale's stream is to be written next, at most one batch, from the first of these that has something:
 * entries that we read and did not finish, entries that dead consumers left, new entries. Only where ours turned out to
 * come after some that others have and do not write, theirs come first.
 */

import type { PersisterMetrics } from '../metrics.ts';
import type { Timings } from '../timings.ts';
import type { Delivery, StreamConsumer } from './consumer.ts';
import { countEvents } from './entries.ts';

/** A batch is full with this many events; an entry holds up to 256 of them. */
const EVENTS_PER_BATCH = 10_000;
const EVENTS_PER_ENTRY_MAX = 256;
const ENTRIES_PER_READ_MAX = 64;
/** Read again or claimed, where the entries' size is not looked at: no more than a batch even of the largest. */
const ENTRIES_PER_PAGE = Math.floor(EVENTS_PER_BATCH / EVENTS_PER_ENTRY_MAX);
const START = '0-0';
/** Whoever has entries that others wait for should have written them by then. */
const MISSING_IDLE_MS = 500;

export class BatchReader {
  readonly #timings: Timings;
  readonly #metrics: PersisterMetrics;
  /** Where our own unfinished entries are read from next; undefined: there are none. */
  #ownFrom: string | undefined;
  /** Where the sweep over abandoned entries goes on; undefined: no sweep is under way. */
  #claimFrom: string | undefined = START;
  #claimDueMs = 0;
  #isMissing = false;

  constructor(timings: Timings, metrics: PersisterMetrics) {
    this.#timings = timings;
    this.#metrics = metrics;
  }

  /** Something that was delivered may not have been written, or not acknowledged. */
  readAgain(): void {
    this.#ownFrom = START;
  }

  /** What we read can't be written yet: earlier entries are missing. */
  lookForMissing(): void {
    this.#isMissing = true;
    this.readAgain();
  }

  /** Whether new entries come next, and most likely are there: the last were a whole batch, of so many events. */
  isNewNext(events: number): boolean {
    const isOlderDue =
      this.#isMissing ||
      this.#ownFrom !== undefined ||
      this.#claimFrom !== undefined ||
      performance.now() >= this.#claimDueMs;
    return !isOlderDue && events >= EVENTS_PER_BATCH / 2;
  }

  /** Undefined when there is nothing. */
  async next(stream: StreamConsumer): Promise<Delivery | undefined> {
    if (this.#isMissing) {
      this.#isMissing = false;
      const page = await stream.claim(MISSING_IDLE_MS, START, ENTRIES_PER_PAGE);
      this.#metrics.claimed.inc(page.entries.length);
      if (page.entries.length > 0) return page;
    }
    if (this.#ownFrom !== undefined) {
      const page = await stream.readOwn(this.#ownFrom, ENTRIES_PER_PAGE);
      this.#ownFrom = page.entries.length > 0 ? page.next : undefined;
      if (page.entries.length > 0) return page;
    }
    if (performance.now() >= this.#claimDueMs) this.#claimFrom ??= START;
    if (this.#claimFrom !== undefined) {
      const page = await this.#claim(stream, this.#claimFrom);
      if (page.entries.length > 0) return page;
    }
    const fresh = await this.#readNew(stream);
    return fresh.entries.length > 0 ? fresh : undefined;
  }

  async #claim(stream: StreamConsumer, from: string): Promise<Delivery> {
    const page = await stream.claim(this.#timings.claimIdleMs, from, ENTRIES_PER_PAGE);
    this.#metrics.claimed.inc(page.entries.length);
    if (page.next === START) {
      this.#claimFrom = undefined;
      this.#claimDueMs = performance.now() + this.#timings.claimIdleMs / 2;
      await stream.removeIdleConsumers(this.#timings.consumerIdleMs);
    } else {
      this.#claimFrom = page.next;
    }
    return page;
  }

  /** A batch's worth, in as many reads as the size of the entries asks for. */
  async #readNew(stream: StreamConsumer): Promise<Delivery> {
    let wanted = entriesToRead(0, 0);
    const delivery = await stream.readNew(wanted);
    let got = delivery.entries.length;
    let events = 0;
    for (const entry of delivery.entries) events += countEvents(entry);
    while (got === wanted && events < EVENTS_PER_BATCH / 2) {
      wanted = entriesToRead(delivery.entries.length, events);
      const { entries } = await stream.readNew(wanted);
      for (const entry of entries) events += countEvents(entry);
      delivery.entries.push(...entries);
      got = entries.length;
    }
    return delivery;
  }
}

/** So many that a batch fills up, judging by the entries it has so far; of the first the largest size is assumed. */
function entriesToRead(entries: number, events: number): number {
  const eventsPerEntry = entries === 0 ? EVENTS_PER_ENTRY_MAX : events / entries;
  const count = Math.ceil((EVENTS_PER_BATCH - events) / eventsPerEntry);
  return Math.max(1, Math.min(ENTRIES_PER_READ_MAX, count));
}
