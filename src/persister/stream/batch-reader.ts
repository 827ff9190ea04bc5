/**
 * Chooses what of a sale's stream is written next, at most one batch, from the first of these that has entries: entries
 * that this consumer has read and not finished, entries that dead consumers left, new entries. If earlier
 * events are missing, it first claims entries that another consumer has held for 500 ms.
 */
import type { PersisterContext } from '../context.ts';
import type { Page, StreamConsumer } from './consumer.ts';
import { countEvents, type StreamEntry } from './entries.ts';

/** A batch is full with this many events. An entry has 1 to 256 events. */
const EVENTS_PER_BATCH = 10_000;
const EVENTS_PER_ENTRY_MAX = 256;
const ENTRIES_PER_READ_MAX = 64;
/** For pages whose events are not counted: one batch of the largest entries. */
const ENTRIES_PER_PAGE = Math.floor(EVENTS_PER_BATCH / EVENTS_PER_ENTRY_MAX);
const START = '0-0';
/** A live consumer writes entries within this time. */
const MISSING_IDLE_MS = 500;

export class BatchReader {
  readonly #context: PersisterContext;
  /** Where the next page of our own pending entries starts. Undefined: there are none. */
  #ownFrom: string | undefined;
  /** Where the next page of abandoned entries starts. Undefined: no pass over them is in progress. */
  #claimFrom: string | undefined = START;
  #claimDueMs = 0;
  #isMissing = false;

  constructor(context: PersisterContext) {
    this.#context = context;
  }

  /** Entries that were returned may not have been written or acknowledged. */
  readAgain(): void {
    this.#ownFrom = START;
  }

  /** All entries were acknowledged a moment ago. */
  nothingPending(): void {
    this.#ownFrom = undefined;
    this.#claimFrom = undefined;
    this.#claimDueMs = performance.now() + this.#context.timings.claimIdleMs / 2;
  }

  /** The entries that were returned cannot be written yet, because earlier ones are missing. */
  lookForMissing(): void {
    this.#isMissing = true;
    this.readAgain();
  }

  /** Whether new entries are next, and probably exist because the last batch was full. */
  isNewNext(events: number): boolean {
    const isOlderDue =
      this.#isMissing ||
      this.#ownFrom !== undefined ||
      this.#claimFrom !== undefined ||
      performance.now() >= this.#claimDueMs;
    return !isOlderDue && events >= EVENTS_PER_BATCH / 2;
  }

  /** Empty: there is nothing to write. */
  async next(stream: StreamConsumer): Promise<StreamEntry[]> {
    if (this.#isMissing) {
      this.#isMissing = false;
      const page = await this.#claim(stream, MISSING_IDLE_MS, START);
      if (page.entries.length > 0) return page.entries;
    }
    if (this.#ownFrom !== undefined) {
      const page = await stream.readOwn(this.#ownFrom, ENTRIES_PER_PAGE);
      this.#ownFrom = page.entries.length > 0 ? page.next : undefined;
      if (page.entries.length > 0) return page.entries;
    }
    if (performance.now() >= this.#claimDueMs) this.#claimFrom ??= START;
    if (this.#claimFrom !== undefined) {
      const page = await this.#claimAbandoned(stream, this.#claimFrom);
      if (page.entries.length > 0) return page.entries;
    }
    return this.#readNew(stream);
  }

  async #claim(stream: StreamConsumer, minIdleMs: number, from: string): Promise<Page> {
    const page = await stream.claim(minIdleMs, from, ENTRIES_PER_PAGE);
    this.#context.metrics.claimed.inc(page.entries.length);
    return page;
  }

  async #claimAbandoned(stream: StreamConsumer, from: string): Promise<Page> {
    const { claimIdleMs } = this.#context.timings;
    const page = await this.#claim(stream, claimIdleMs, from);
    if (page.next === START) {
      this.#claimFrom = undefined;
      this.#claimDueMs = performance.now() + claimIdleMs / 2;
    } else {
      this.#claimFrom = page.next;
    }
    return page;
  }

  /** One batch, in as many reads as the entries' sizes require. */
  async #readNew(stream: StreamConsumer): Promise<StreamEntry[]> {
    const batch: StreamEntry[] = [];
    let events = 0;
    for (;;) {
      const wanted = entriesToRead(batch.length, events);
      const entries = await stream.readNew(wanted);
      for (const entry of entries) events += countEvents(entry);
      batch.push(...entries);
      if (entries.length < wanted || events >= EVENTS_PER_BATCH / 2) return batch;
    }
  }
}

/** As many as fill the batch at the mean size of its entries so far; the first are assumed to be of the largest size. */
function entriesToRead(entries: number, events: number): number {
  const eventsPerEntry = entries === 0 ? EVENTS_PER_ENTRY_MAX : events / entries;
  const count = Math.ceil((EVENTS_PER_BATCH - events) / eventsPerEntry);
  return Math.max(1, Math.min(ENTRIES_PER_READ_MAX, count));
}
