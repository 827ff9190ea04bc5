/**
 * One sale's loop: read what its stream has, write it, acknowledge it, trim the stream, again. Each turn takes one
 * slot and at most one batch (see deliveries.ts for which).
 *
 * Anything unexpected (Redis away, a server that restarted, a group that vanished) ends the turn, and the next one
 * starts by asking Redis for the sale anew.
 */
import { Fault, unreachable } from '../domain/fault.ts';
import type { SaleStatus } from '../domain/sale.ts';
import { readSale } from '../lua/read/read-sale.ts';
import { trimEvents } from '../lua/stream/trim-events.ts';
import { backoffMs, pause } from '../process/backoff.ts';
import type { Semaphore } from '../process/semaphore.ts';
import { StoppingError } from './database/database.ts';
import { forgetSale } from './metrics.ts';
import { openSale, type RecoveryContext, type SaleCondition } from './recover/recover.ts';
import { BatchReader } from './stream/batch-reader.ts';
import { isGroupMissing, StreamConsumer } from './stream/consumer.ts';
import { type SortedEntries, sortEntries } from './stream/entries.ts';
import type { Timings } from './timings.ts';
import { persist } from './write/persist.ts';

const TRIM_INTERVAL_MS = 200;
/** Also without news: whoever acknowledged last may have died before trimming. */
const TRIM_ANYWAY_MS = 10_000;
const IDLE_FIRST_MS = 10;
const BUSY_MS = 100;
/** Earlier events that do not come are reported after so long. */
const MISSING_MS_MAX = 30_000;

/** What a turn found, which decides how long to wait for the next. */
type Turn = 'worked' | 'empty' | 'ahead' | Exclude<SaleCondition['condition'], 'open'>;

/** Where a sale was found open: what is read there, and nowhere else, is of that timeline. */
interface Opened {
  stream: StreamConsumer;
  timeline: number;
}

export class SaleDrain {
  readonly saleId: string;
  readonly #context: RecoveryContext;
  readonly #semaphore: Semaphore;
  readonly #timings: Timings;
  readonly #consumer: string;
  readonly #batchReader: BatchReader;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #status: SaleStatus;
  /** Undefined: to be asked. */
  #opened: Opened | undefined;
  /** Since when earlier events are missing. */
  #aheadSinceMs: number | undefined;
  #trimmedMs = 0;
  #untrimmed = true;
  /** What comes next, read while the batch before it is being written: PostgreSQL need not wait for us. */
  #ahead: Promise<SortedEntries | undefined> | undefined;
  /** The number of the last event that we wrote. */
  #lastWritten = Number.NaN;
  readonly #waiting = new Set<string>();
  readonly #unknownVersions = new Set<string>();
  #lastComplaint = '';

  constructor(
    context: RecoveryContext,
    options: {
      saleId: string;
      status: SaleStatus;
      consumer: string;
      semaphore: Semaphore;
      timings: Timings;
    },
  ) {
    this.saleId = options.saleId;
    this.#context = context;
    this.#status = options.status;
    this.#semaphore = options.semaphore;
    this.#timings = options.timings;
    this.#consumer = options.consumer;
    this.#batchReader = new BatchReader(options.timings, context.metrics);
  }

  /** Resolves once stopped. */
  async run(): Promise<void> {
    let quiet = 0;
    let failures = 0;
    // What was read ahead would stay pending until somebody claims it.
    while (!this.#stopping.signal.aborted || this.#ahead) {
      let delayMs: number;
      try {
        const turn = await this.#semaphore.run(() => this.#turn());
        failures = 0;
        quiet = turn === 'worked' ? 0 : quiet + 1;
        delayMs = this.#delayAfter(turn, quiet);
      } catch (error) {
        if (error instanceof StoppingError) break;
        await this.#startOver(error);
        delayMs = backoffMs(failures++, IDLE_FIRST_MS, 1_000);
      }
      if (delayMs > 0) await this.#rest(delayMs);
    }
    forgetSale(this.#context.metrics, this.saleId);
  }

  /** What operators made of the sale. */
  update(status: SaleStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.wake();
  }

  /** An operator wants it recovered. */
  reopen(): void {
    this.#opened = undefined;
    this.wake();
  }

  /** Ends a pause: there may be news. */
  wake(): void {
    this.#wake.abort();
  }

  stop(): void {
    this.#stopping.abort();
    this.#wake.abort();
  }

  /** Looks at how far PostgreSQL is behind; works during its outages, when the loop itself only waits. */
  async measureLag(): Promise<void> {
    const stream = this.#streamNow();
    const reply = await stream.server.call(readSale, this.saleId);
    if (reply.outcome === 'unknown_sale') return;
    const { events, drained, nowMs, streamLength } = reply.state;
    const oldestMs = streamLength > 0 ? await stream.oldestMs() : undefined;
    const { lagEvents, lagSeconds } = this.#context.metrics;
    lagEvents.set({ sale: this.saleId }, events - drained);
    lagSeconds.set(
      { sale: this.saleId },
      oldestMs === undefined || events === drained ? 0 : Math.max(0, nowMs - oldestMs) / 1000,
    );
    for (const entryId of this.#waiting) {
      // Someone else's newer version has written what we could not read.
      if (oldestMs === undefined || Number(entryId.split('-')[0]) < oldestMs)
        this.#waiting.delete(entryId);
    }
    this.#reportWaiting();
  }

  async #turn(): Promise<Turn> {
    const opened = await this.#open();
    if (typeof opened === 'string') return opened;
    const sorted = (await this.#takeAhead()) ?? (await this.#read(opened.stream));
    if (!sorted) {
      await this.#trimIfDue(opened.stream);
      return 'empty';
    }
    const persisting = this.#persist(sorted, opened);
    if (this.#mayReadAhead(sorted)) {
      this.#ahead = this.#read(opened.stream);
      // Whoever takes it hears of it.
      this.#ahead.catch(() => undefined);
    }
    const turn = await persisting;
    await this.#trimIfDue(opened.stream);
    return turn;
  }

  /**
   * Only where the sale is ours alone, or several persisters would hold what the other waits for; and where no other
   * sale waits for a slot, or each of them would hold a batch in memory.
   */
  #mayReadAhead({ events }: SortedEntries): boolean {
    return (
      events[0]?.number === this.#lastWritten + 1 &&
      this.#batchReader.isNewNext(events.length) &&
      !this.#semaphore.hasWaiters &&
      !this.#stopping.signal.aborted
    );
  }

  async #read(stream: StreamConsumer): Promise<SortedEntries | undefined> {
    const delivery = await this.#batchReader.next(stream);
    return delivery && sortEntries(this.saleId, delivery.entries);
  }

  #takeAhead(): Promise<SortedEntries | undefined> | undefined {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    return ahead;
  }

  /** What we have read may not be written now, or not by us: it is read anew, once nothing is being read any more. */
  async #readAgain(): Promise<void> {
    this.#lastWritten = Number.NaN;
    await this.#takeAhead()?.catch(() => undefined);
    this.#batchReader.readAgain();
  }

  async #open(): Promise<Opened | Exclude<SaleCondition['condition'], 'open'>> {
    if (this.#opened?.stream.server.isThere) return this.#opened;
    // What was read by another connection may not have been written.
    await this.#readAgain();
    const stream = this.#streamNow();
    const found = await openSale(this.#context, stream);
    if (found.condition !== 'open') return found.condition;
    this.#opened = { stream, timeline: found.timeline };
    this.#lastComplaint = '';
    return this.#opened;
  }

  /** Of the server that there is now. */
  #streamNow(): StreamConsumer {
    const server = this.#context.shards.of(this.saleId).pin();
    return new StreamConsumer(server, this.saleId, this.#consumer);
  }

  async #persist(sorted: SortedEntries, { stream, timeline }: Opened): Promise<Turn> {
    const guard = { lock: 'take', timeline } as const;
    const { outcome, waiting } = await persist(this.#context, stream, sorted, guard);
    if (outcome === 'outdated') {
      this.#opened = undefined;
      await this.#readAgain();
      return 'busy';
    }
    this.#untrimmed = true;
    for (const entryId of sorted.entryIds) this.#waiting.delete(entryId);
    for (const { entryId, version } of waiting) {
      this.#waiting.add(entryId);
      if (this.#unknownVersions.has(version)) continue;
      this.#unknownVersions.add(version);
      this.#context.log.error(
        { saleId: this.saleId, entryId, version },
        'entries of a format that this version does not know wait for one that does',
      );
    }
    this.#reportWaiting();
    if (outcome === 'ahead') {
      this.#complainOfMissing();
      await this.#readAgain();
      this.#batchReader.lookForMissing();
      return 'ahead';
    }
    this.#aheadSinceMs = undefined;
    this.#lastWritten = sorted.events.at(-1)?.number ?? Number.NaN;
    return 'worked';
  }

  /** Another persister has them and is slow, or a newer one must read them. Or they are nowhere. */
  #complainOfMissing(): void {
    const nowMs = performance.now();
    this.#aheadSinceMs ??= nowMs;
    if (nowMs - this.#aheadSinceMs < MISSING_MS_MAX) return;
    this.#aheadSinceMs = nowMs;
    this.#context.log.error(
      { saleId: this.saleId },
      'events wait for earlier ones of the sale, which nobody writes',
    );
  }

  async #trimIfDue({ server }: StreamConsumer): Promise<void> {
    const sinceMs = performance.now() - this.#trimmedMs;
    if (sinceMs < (this.#untrimmed ? TRIM_INTERVAL_MS : TRIM_ANYWAY_MS)) return;
    const reply = await server.call(trimEvents, this.saleId);
    this.#trimmedMs = performance.now();
    this.#untrimmed = false;
    if (reply.outcome === 'trimmed') this.#context.metrics.trims.inc();
    else this.#opened = undefined;
  }

  #delayAfter(turn: Turn, quiet: number): number {
    switch (turn) {
      case 'worked':
        return 0;
      case 'ahead':
        return backoffMs(quiet, IDLE_FIRST_MS, BUSY_MS);
      case 'busy':
        return BUSY_MS;
      case 'closed':
        return this.#timings.restMs;
      case 'absent':
        // An open one is on its way from PostgreSQL to Redis.
        return this.#rests() ? this.#timings.restMs : this.#timings.idleMs;
      case 'empty': {
        if (this.#untrimmed) return Math.min(TRIM_INTERVAL_MS, IDLE_FIRST_MS * 2 ** quiet);
        const mostMs = this.#rests() ? this.#timings.restMs : this.#timings.idleMs;
        return backoffMs(quiet, IDLE_FIRST_MS, mostMs);
      }
      default:
        return unreachable(turn);
    }
  }

  #rests(): boolean {
    return this.#status === 'ended' || this.#status === 'draft';
  }

  async #startOver(error: unknown): Promise<void> {
    this.#opened = undefined;
    await this.#readAgain();
    const message = error instanceof Error ? error.message : String(error);
    const isReported = error instanceof Fault && error.code === 'not_sent';
    if (message === this.#lastComplaint || isReported || isGroupMissing(error)) return;
    this.#lastComplaint = message;
    this.#context.log.warn({ saleId: this.saleId, err: error }, 'draining stopped, trying again');
  }

  #reportWaiting(): void {
    this.#context.metrics.waitingEntries.set({ sale: this.saleId }, this.#waiting.size);
  }

  async #rest(delayMs: number): Promise<void> {
    this.#wake = new AbortController();
    if (!this.#stopping.signal.aborted) await pause(delayMs, this.#wake.signal);
  }
}
