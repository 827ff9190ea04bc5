/**
 * One sale's drain: reads its stream, writes the events to PostgreSQL, acknowledges and trims the entries. Each turn
 * holds a permit and writes at most one batch, which batch-reader.ts chooses.
 *
 * Once all events are drained it sleeps until it is woken: by a hint of the script that appends the next event, by a
 * sweep that finds events, or when Redis became available again.
 *
 * An unexpected error (Redis unavailable, a restarted server, a missing group) ends the turn. The next turn first checks
 * the sale on both servers, and recovers it if needed.
 */
import { Fault } from '../domain/fault.ts';
import { type Examination, examineSale } from '../lua/recover/examine-sale.ts';
import { trimEvents } from '../lua/stream/trim-events.ts';
import type { PinnedServer } from '../redis/shard.ts';
import {
  GATHERED_MAX,
  IDLE_FIRST_MS,
  pauseAfter,
  TRIM_INTERVAL_MS,
  type Turn,
} from './drain-pause.ts';
import { Loop } from './loop.ts';
import {
  isPostgresBehind,
  openSale,
  type RecoveryContext,
  type SaleCondition,
} from './recover/recover.ts';
import { SaleLag } from './sale-lag.ts';
import { type ListedSale, urgencyOf } from './sale-list.ts';
import { BatchReader } from './stream/batch-reader.ts';
import { isGroupMissing, StreamConsumer } from './stream/consumer.ts';
import { type SortedEntries, sortEntries } from './stream/entries.ts';
import { type TurnQueue, URGENCY, type Urgency } from './turn-queue.ts';
import { persist } from './write/persist.ts';

/** Without own writes: another consumer has acknowledged the entries, or holds them. A trim shows which. */
const TRIM_ANYWAY_MS = 1_000;
const FAILURE_MOST_MS = 1_000;
/** Between two rebuilds of a sale whose scripts fail. */
const FAILING_PAUSE_MS = 600_000;
/** The connection and the timeline on which the sale was last found open. Entries read there belong to that timeline. */
interface Opened {
  stream: StreamConsumer;
  timeline: number;
}

export class SaleDrain {
  readonly saleId: string;
  readonly #context: RecoveryContext;
  readonly #turns: TurnQueue;
  readonly #onOpened: () => void;
  readonly #batchReader: BatchReader;
  readonly #lag: SaleLag;
  readonly #loop: Loop;
  #sale: ListedSale;
  /** Somebody waits for the sale. */
  #isAwaited = false;
  /** PostgreSQL had all events at the last trim, or Redis does not have the sale. */
  #isAsleep: boolean;
  #wasActive = false;
  #isBlocked = false;
  /** A look at both servers waits for PostgreSQL. */
  #isComparing = false;
  #isFailing = false;
  #failingMs = Number.NEGATIVE_INFINITY;
  /** Undefined: must be checked. */
  #opened: Opened | undefined;
  #quietTurns = 0;
  #trimmedMs = 0;
  #tidyMs = 0;
  #hasUntrimmed = true;
  /** The next batch, read while the current one is being written, so that PostgreSQL does not wait for Redis. */
  #readAhead: Promise<SortedEntries | undefined> | undefined;
  /** The number of the last event that this drain wrote. */
  #lastWritten = Number.NaN;
  #lastFailure = '';

  /** Calls `onOpened` whenever it has found the sale open after it was not known to be. */
  constructor(
    context: RecoveryContext,
    sale: ListedSale,
    { turns, onOpened }: { turns: TurnQueue; onOpened: () => void },
  ) {
    this.saleId = sale.saleId;
    this.#context = context;
    this.#sale = sale;
    this.#turns = turns;
    this.#onOpened = onOpened;
    this.#isAsleep = this.isAtRest;
    this.#batchReader = new BatchReader(context);
    this.#lag = new SaleLag(context, sale.saleId);
    this.#loop = new Loop({
      // The first sweep of a sale at rest shows whether there is anything to do.
      firstMs: this.isAtRest ? Number.POSITIVE_INFINITY : 0,
      turn: async () =>
        this.#delayAfter(await this.#turns.run(this, this.urgency, () => this.#turn())),
      onFailure: (error) => this.#startOver(error),
      backoff: { firstMs: IDLE_FIRST_MS, mostMs: FAILURE_MOST_MS },
      // Entries that were read ahead would stay pending until another consumer claims them.
      hasUnfinishedWork: () => this.#readAhead !== undefined,
    });
  }

  /** Resolves once stopped. */
  async run(): Promise<void> {
    await this.#loop.run();
    this.#lag.forget();
  }

  update(sale: ListedSale): void {
    const { status } = this.#sale;
    this.#sale = sale;
    if (sale.isRecoveryRequested) this.reopen();
    else if (sale.status !== status && !this.isOpen) this.wake();
  }

  /** Events that PostgreSQL does not have, as measured last. */
  get lagEvents(): number {
    return this.#lag.events;
  }

  /** Nobody can buy, so nobody is known to wait. */
  get isAtRest(): boolean {
    return urgencyOf(this.#sale) >= URGENCY.atRest;
  }

  get isAsleep(): boolean {
    return this.#isAsleep;
  }

  /** The sale was found open on the current connection. */
  get isOpen(): boolean {
    return this.#opened?.stream.server.isThere === true;
  }

  /** That connection's server. */
  get server(): PinnedServer | undefined {
    return this.#opened?.stream.server;
  }

  /** How urgent its next turn is, see turn-queue.ts. Writing the events of an open sale is as urgent as opening one. */
  get urgency(): Urgency {
    if (this.#isAwaited) return URGENCY.awaited;
    return this.isOpen ? URGENCY.selling : urgencyOf(this.#sale);
  }

  /** Whether it was awake since the last call. */
  takeActivity(): boolean {
    const wasActive = this.#wasActive;
    this.#wasActive = !this.#isAsleep;
    return wasActive;
  }

  /** The sale was found closed or damaged. A blocked recovery keeps its own interval. */
  foundClosed(): void {
    if (!this.#isBlocked) this.reopen();
  }

  /**
   * A script fails on the data of the sale, in a part that no check reads. So the sale is rebuilt as a damaged one; not
   * again soon, because a rebuild does not help against a fault of the script.
   */
  foundFailing(): void {
    const nowMs = performance.now();
    if (nowMs - this.#failingMs < FAILING_PAUSE_MS) return;
    this.#failingMs = nowMs;
    this.#isFailing = true;
    this.foundClosed();
  }

  /** The sale is closed, or an operator requested a recovery. */
  reopen(): void {
    this.#opened = undefined;
    this.wake();
  }

  /** Somebody waits for what this drain does. */
  hint(): void {
    this.#isAwaited = true;
    this.wake();
    this.#turns.promote(this);
  }

  /** Ends a pause, because there may be something to do. */
  wake(): void {
    // At the last trim nothing was pending, so what is pending now is too young to claim.
    if (this.#isAsleep && this.isOpen) this.#batchReader.nothingPending();
    this.#isAsleep = false;
    this.#wasActive = true;
    this.#loop.wake();
  }

  stop(): void {
    this.#loop.stop();
  }

  /** Measures how far PostgreSQL is behind, also while PostgreSQL is unavailable and the loop only waits. */
  async measureLag(): Promise<void> {
    const damages = await this.#lag.measure(this.#pinStream());
    if (damages.length > 0) this.foundClosed();
  }

  /** Looks whether the sale is damaged. The check that follows closes and rebuilds it. */
  async look(): Promise<void> {
    await this.#examine(this.#pinStream());
  }

  async #examine(stream: StreamConsumer): Promise<Examination> {
    const found = await stream.server.call(examineSale, this.saleId);
    if (found.damages.length > 0) this.foundClosed();
    return found;
  }

  /**
   * Also whether PostgreSQL lacks events that the stream no longer has: an older backup may have been restored, and a
   * sale without events would not show it.
   */
  async lookAtBoth(): Promise<void> {
    const stream = this.#pinStream();
    const found = await this.#examine(stream);
    if (!this.#isAsleep || this.#isComparing || this.#context.database.isUnavailable) return;
    this.#isComparing = true;
    try {
      if (await isPostgresBehind(this.#context, stream, found)) this.foundClosed();
    } finally {
      this.#isComparing = false;
    }
  }

  async #turn(): Promise<Turn> {
    this.#isAsleep = false;
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
   * only if no other sale waits for a turn: otherwise each sale would keep a batch in memory.
   */
  #mayReadAhead({ events }: SortedEntries): boolean {
    return (
      events[0]?.number === this.#lastWritten + 1 &&
      this.#batchReader.isNewNext(events.length) &&
      !this.#turns.hasWaiters &&
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
    const condition = await openSale(this.#context, stream, { isFailing: this.#isFailing });
    if (condition.outcome === 'recovered') this.#isFailing = false;
    if (condition.outcome !== 'open') return condition;
    this.#opened = { stream, timeline: condition.timeline };
    this.#lastFailure = '';
    this.#onOpened();
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
    this.#lag.tried(sorted.entryIds, waiting);
    if (outcome === 'ahead') {
      if (this.#lag.foundMissing()) this.#opened = undefined;
      await this.#readAgain();
      this.#batchReader.lookForMissing();
      return 'ahead';
    }
    this.#lag.foundNext();
    this.#lastWritten = sorted.events.at(-1)?.number ?? Number.NaN;
    return sorted.events.length < GATHERED_MAX ? 'worked' : 'behind';
  }

  async #trimIfDue(stream: StreamConsumer): Promise<void> {
    const sinceMs = performance.now() - this.#trimmedMs;
    if (sinceMs < (this.#hasUntrimmed ? TRIM_INTERVAL_MS : TRIM_ANYWAY_MS)) return;
    const reply = await stream.server.call(trimEvents, this.saleId);
    this.#trimmedMs = performance.now();
    this.#hasUntrimmed = false;
    if (reply.outcome !== 'trimmed') {
      this.#opened = undefined;
      return;
    }
    this.#context.metrics.trims.inc();
    this.#isAsleep = reply.drained === reply.events && !this.#loop.isWoken;
    if (!this.#isAsleep || this.#trimmedMs < this.#tidyMs) return;
    const { consumerIdleMs } = this.#context.timings;
    this.#tidyMs = this.#trimmedMs + consumerIdleMs;
    await stream.removeIdleConsumers(consumerIdleMs);
  }

  #delayAfter(turn: Turn): number {
    this.#quietTurns = turn === 'worked' || turn === 'behind' ? 0 : this.#quietTurns + 1;
    this.#isBlocked = turn === 'blocked';
    // A client waits although there is nothing to write: it may have found damage. Or it has found some while a batch was
    // written, and nobody else looks at a sleeping drain soon.
    if (this.#isAsleep || (turn === 'empty' && this.#isAwaited)) {
      void this.look().catch(() => undefined);
    }
    if (turn !== 'retry' && turn !== 'recovered') this.#isAwaited = false;
    if (this.#isAsleep) {
      this.#lag.clear(this.isAtRest);
      return Number.POSITIVE_INFINITY;
    }
    if (turn === 'absent') this.#isAsleep = true;
    const state = {
      quietTurns: this.#quietTurns,
      isAtRest: this.isAtRest,
      hasUntrimmed: this.#hasUntrimmed,
    };
    return pauseAfter(turn, state, this.#context.timings);
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
}
