/**
 * One sale's drain: reads its stream, writes the events to PostgreSQL, acknowledges and trims the entries. Each turn
 * holds a permit and writes at most one batch, which batch-reader.ts chooses.
 *
 * An unexpected error (Redis unavailable, a restarted server, a missing group) ends the turn. The next turn first checks
 * the sale on both servers, and recovers it if needed.
 */
import { Fault, unreachable } from '../domain/fault.ts';
import type { SaleStatus } from '../domain/sale.ts';
import { readSale } from '../lua/read/read-sale.ts';
import { trimEvents } from '../lua/stream/trim-events.ts';
import { backoffMs } from '../process/backoff.ts';
import type { Semaphore } from '../process/semaphore.ts';
import { Loop } from './loop.ts';
import { forgetSale } from './metrics.ts';
import { openSale, type RecoveryContext, type SaleCondition } from './recover/recover.ts';
import { BatchReader } from './stream/batch-reader.ts';
import { isGroupMissing, StreamConsumer } from './stream/consumer.ts';
import { type SortedEntries, sortEntries } from './stream/entries.ts';
import { persist } from './write/persist.ts';

const TRIM_INTERVAL_MS = 200;
/** Trims without new writes, because the consumer that acknowledged last may have died before it trimmed. */
const TRIM_ANYWAY_MS = 10_000;
const IDLE_FIRST_MS = 10;
const FAILURE_MOST_MS = 1_000;
const RETRY_MS = 100;
/** Missing earlier events are reported after this time. */
const MISSING_MS_MAX = 30_000;

/** The result of a turn, which decides the pause until the next one. */
type Turn = 'worked' | 'empty' | 'ahead' | Exclude<SaleCondition['outcome'], 'open'>;

/** The connection and the timeline on which the sale was last found open. Entries read there belong to that timeline. */
interface Opened {
  stream: StreamConsumer;
  timeline: number;
}

export class SaleDrain {
  readonly saleId: string;
  readonly #context: RecoveryContext;
  readonly #semaphore: Semaphore;
  readonly #batchReader: BatchReader;
  readonly #loop: Loop;
  #status: SaleStatus;
  /** Undefined: must be checked. */
  #opened: Opened | undefined;
  #quietTurns = 0;
  #missingSinceMs: number | undefined;
  #trimmedMs = 0;
  #hasUntrimmed = true;
  /** The next batch, read while the current one is being written, so that PostgreSQL does not wait for Redis. */
  #readAhead: Promise<SortedEntries | undefined> | undefined;
  /** The number of the last event that this drain wrote. */
  #lastWritten = Number.NaN;
  readonly #waiting = new Set<string>();
  readonly #unknownVersions = new Set<string>();
  #lastFailure = '';

  constructor(context: RecoveryContext, saleId: string, status: SaleStatus, semaphore: Semaphore) {
    this.saleId = saleId;
    this.#context = context;
    this.#status = status;
    this.#semaphore = semaphore;
    this.#batchReader = new BatchReader(context);
    this.#loop = new Loop({
      turn: async () => this.#delayAfter(await this.#semaphore.run(() => this.#turn())),
      onFailure: (error) => this.#startOver(error),
      backoff: { firstMs: IDLE_FIRST_MS, mostMs: FAILURE_MOST_MS },
      // Entries that were read ahead would stay pending until another consumer claims them.
      hasUnfinishedWork: () => this.#readAhead !== undefined,
    });
  }

  /** Resolves once stopped. */
  async run(): Promise<void> {
    await this.#loop.run();
    forgetSale(this.#context.metrics, this.saleId);
  }

  update(status: SaleStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.wake();
  }

  /** An operator requested a recovery. */
  reopen(): void {
    this.#opened = undefined;
    this.wake();
  }

  /** Ends a pause, because there may be something to do. */
  wake(): void {
    this.#loop.wake();
  }

  stop(): void {
    this.#loop.stop();
  }

  /** Measures how far PostgreSQL is behind, also while PostgreSQL is unavailable and the loop only waits. */
  async measureLag(): Promise<void> {
    const stream = this.#pinStream();
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
      // A persister of a newer version has written what this one cannot read.
      if (oldestMs === undefined || Number(entryId.split('-')[0]) < oldestMs)
        this.#waiting.delete(entryId);
    }
    this.#measureWaiting();
  }

  async #turn(): Promise<Turn> {
    const opened = await this.#open();
    if ('outcome' in opened) return opened.outcome;
    const sorted = (await this.#takeReadAhead()) ?? (await this.#read(opened.stream));
    if (!sorted) {
      await this.#trimIfDue(opened.stream);
      return 'empty';
    }
    const persisting = this.#persist(sorted, opened);
    if (this.#mayReadAhead(sorted)) {
      this.#readAhead = this.#read(opened.stream);
      // The turn that takes it gets the error.
      this.#readAhead.catch(() => undefined);
    }
    const turn = await persisting;
    await this.#trimIfDue(opened.stream);
    return turn;
  }

  /**
   * Reads ahead only if no other persister drains this sale: two would each hold entries that the other waits for. And
   * only if no other sale waits for a permit: otherwise each sale would keep a batch in memory.
   */
  #mayReadAhead({ events }: SortedEntries): boolean {
    return (
      events[0]?.number === this.#lastWritten + 1 &&
      this.#batchReader.isNewNext(events.length) &&
      !this.#semaphore.hasWaiters &&
      !this.#loop.isStopping
    );
  }

  async #read(stream: StreamConsumer): Promise<SortedEntries | undefined> {
    const entries = await this.#batchReader.next(stream);
    return entries.length > 0 ? sortEntries(this.saleId, entries) : undefined;
  }

  #takeReadAhead(): Promise<SortedEntries | undefined> | undefined {
    const readAhead = this.#readAhead;
    this.#readAhead = undefined;
    return readAhead;
  }

  /** Entries that were read may not be written now, or not by this process. Read them again, once no read is running. */
  async #readAgain(): Promise<void> {
    this.#lastWritten = Number.NaN;
    await this.#takeReadAhead()?.catch(() => undefined);
    this.#batchReader.readAgain();
  }

  async #open(): Promise<Opened | Exclude<SaleCondition, { outcome: 'open' }>> {
    if (this.#opened?.stream.server.isThere) return this.#opened;
    // Entries that another connection read may not have been written.
    await this.#readAgain();
    const stream = this.#pinStream();
    const condition = await openSale(this.#context, stream);
    if (condition.outcome !== 'open') return condition;
    this.#opened = { stream, timeline: condition.timeline };
    this.#lastFailure = '';
    return this.#opened;
  }

  /** On the server of the current connection. */
  #pinStream(): StreamConsumer {
    const server = this.#context.shards.of(this.saleId).pin();
    return new StreamConsumer(server, this.saleId, this.#context.consumer);
  }

  async #persist(sorted: SortedEntries, { stream, timeline }: Opened): Promise<Turn> {
    const guard = { lock: 'take', timeline } as const;
    const { outcome, waiting } = await persist(this.#context, stream, sorted, guard);
    if (outcome === 'outdated') {
      const reason = stream.server.isThere ? 'timeline_changed' : 'connection_lost';
      this.#context.log.debug({ saleId: this.saleId, reason }, 'batch dropped');
      this.#opened = undefined;
      await this.#readAgain();
      return 'retry';
    }
    this.#hasUntrimmed = true;
    for (const entryId of sorted.entryIds) this.#waiting.delete(entryId);
    for (const { entryId, version } of waiting) {
      this.#waiting.add(entryId);
      if (this.#unknownVersions.has(version)) continue;
      this.#unknownVersions.add(version);
      this.#context.log.error(
        { saleId: this.saleId, entryId, version, reason: 'unknown format version' },
        'entries left for a persister of another version',
      );
    }
    this.#measureWaiting();
    if (outcome === 'ahead') {
      this.#reportMissing();
      await this.#readAgain();
      this.#batchReader.lookForMissing();
      return 'ahead';
    }
    this.#missingSinceMs = undefined;
    this.#lastWritten = sorted.events.at(-1)?.number ?? Number.NaN;
    return 'worked';
  }

  /** A slow persister may hold the missing events, or only a newer version can read them, or they are lost. */
  #reportMissing(): void {
    const nowMs = performance.now();
    this.#missingSinceMs ??= nowMs;
    if (nowMs - this.#missingSinceMs < MISSING_MS_MAX) return;
    this.#missingSinceMs = nowMs;
    this.#context.log.error(
      { saleId: this.saleId, reason: 'earlier events of the sale are missing' },
      'events held back',
    );
  }

  async #trimIfDue({ server }: StreamConsumer): Promise<void> {
    const sinceMs = performance.now() - this.#trimmedMs;
    if (sinceMs < (this.#hasUntrimmed ? TRIM_INTERVAL_MS : TRIM_ANYWAY_MS)) return;
    const reply = await server.call(trimEvents, this.saleId);
    this.#trimmedMs = performance.now();
    this.#hasUntrimmed = false;
    if (reply.outcome === 'trimmed') this.#context.metrics.trims.inc();
    else this.#opened = undefined;
  }

  #delayAfter(turn: Turn): number {
    this.#quietTurns = turn === 'worked' ? 0 : this.#quietTurns + 1;
    const { restMs, idleMs } = this.#context.timings;
    const isResting = this.#status === 'ended' || this.#status === 'draft';
    const mostMs = isResting ? restMs : idleMs;
    switch (turn) {
      case 'worked':
        return 0;
      case 'ahead':
        return backoffMs(this.#quietTurns, IDLE_FIRST_MS, RETRY_MS);
      case 'retry':
      case 'recovered':
        return RETRY_MS;
      case 'blocked':
        return restMs;
      case 'absent':
        // The admin may be about to send an open sale to Redis.
        return mostMs;
      case 'empty':
        return this.#hasUntrimmed
          ? Math.min(TRIM_INTERVAL_MS, IDLE_FIRST_MS * 2 ** this.#quietTurns)
          : backoffMs(this.#quietTurns, IDLE_FIRST_MS, mostMs);
      default:
        return unreachable(turn);
    }
  }

  /** Logs each new failure once; the Redis connection reports its own. */
  async #startOver(error: unknown): Promise<void> {
    this.#opened = undefined;
    await this.#readAgain();
    const message = error instanceof Error ? error.message : String(error);
    const isReported = error instanceof Fault && error.code === 'not_sent';
    if (message === this.#lastFailure || isReported || isGroupMissing(error)) return;
    this.#lastFailure = message;
    this.#context.log.warn({ saleId: this.saleId, err: error }, 'drain failed, trying again');
  }

  #measureWaiting(): void {
    this.#context.metrics.waitingEntries.set({ sale: this.saleId }, this.#waiting.size);
  }
}
