/**
 * Group commit for one sale: buyers wait only while calls are in flight, then all who wait go in the next call.
 * Under light load a buy is one round trip; under heavy load one call carries a hundred decisions.
 */
import { Fault } from '../../domain/fault.ts';
import { newTag } from '../../domain/identifiers.ts';
import { type ReserveOutcome, type ReserveRequest, reserve } from '../../lua/buy/reserve.ts';
import type { Shards } from '../../redis/shards.ts';

/** Whoever waited longer than this is told to come back: its client has most likely given up by then. */
const WAIT_MS_MAX = 4_000;
/** Whoever would have to wait longer than this, as calls go at present, is told so at once instead. */
const EXPECTED_WAIT_MS_MAX = 2_000;
/** The quickest of so many calls says what one takes: who came first is not sent away because Redis hung for a moment. */
const CALLS_REMEMBERED = 4;

export interface QueuedPurchase extends ReserveRequest {
  /** When the buyer got in line, on this process' monotonic clock; a slow upload is not waiting. */
  queuedAt: number;
  /** The client went away: it is dropped before the call, never sold to. */
  readonly isAborted: boolean;
  /** One of the two is called once, unless the client went away. */
  settle(outcome: ReserveOutcome): void;
  fail(fault: Fault): void;
}

export interface BatcherLimits {
  batchSizeMax: number;
  inFlightMax: number;
  waitingMax: number;
  /** Asked for each call; 0: nobody new gets anything. */
  backlogMax: () => number;
}

export interface BatcherObserver {
  decided(
    tag: string,
    batch: readonly ReserveRequest[],
    outcomes: readonly ReserveOutcome[],
    seconds: number,
  ): void;
  faulted(fault: Fault, size: number): void;
}

export class Batcher {
  readonly #saleId: string;
  readonly #shards: Shards;
  readonly #limits: BatcherLimits;
  readonly #observer: BatcherObserver;
  #waiting: QueuedPurchase[] = [];
  /** Index of the first who waits; the ones before have left. */
  #head = 0;
  #inFlight = 0;
  #isScheduled = false;
  readonly #lastCallsMs: number[] = [];
  /** What a call takes at present; 0 before the first. */
  #callMs = 0;

  constructor(saleId: string, shards: Shards, limits: BatcherLimits, observer: BatcherObserver) {
    this.#saleId = saleId;
    this.#shards = shards;
    this.#limits = limits;
    this.#observer = observer;
  }

  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get isIdle(): boolean {
    return this.waiting === 0 && this.#inFlight === 0;
  }

  /** False: the line is as long as it may be, and this buyer was not taken. */
  submit(buyer: QueuedPurchase): boolean {
    if (this.waiting >= this.#limits.waitingMax) return false;
    if (this.#expectedWaitMs() > EXPECTED_WAIT_MS_MAX) return false;
    this.#waiting.push(buyer);
    this.#schedule();
    return true;
  }

  /** Until all who wait now have left. */
  #expectedWaitMs(): number {
    const { batchSizeMax, inFlightMax } = this.#limits;
    return (this.waiting / batchSizeMax / inFlightMax) * this.#callMs;
  }

  #remember(callMs: number): void {
    this.#lastCallsMs.push(callMs);
    if (this.#lastCallsMs.length > CALLS_REMEMBERED) this.#lastCallsMs.shift();
    this.#callMs = Math.min(...this.#lastCallsMs);
  }

  #schedule(): void {
    if (this.#inFlight >= this.#limits.inFlightMax || this.waiting === 0) return;
    // A turn of the event loop lasts as long as a thousand sockets are ready at once: those who are a whole batch go now.
    if (this.waiting >= this.#limits.batchSizeMax) {
      this.#sendWaiting();
    } else if (!this.#isScheduled) {
      this.#isScheduled = true;
      // The end of this turn: everyone whose request was read in it goes together.
      setImmediate(() => {
        this.#isScheduled = false;
        this.#sendWaiting();
      });
    }
  }

  #sendWaiting(): void {
    while (this.#inFlight < this.#limits.inFlightMax && this.waiting > 0) {
      const batch = this.#take();
      if (batch.length > 0) void this.#send(batch);
    }
  }

  #take(): QueuedPurchase[] {
    const batch: QueuedPurchase[] = [];
    const latestStart = performance.now() - WAIT_MS_MAX;
    while (batch.length < this.#limits.batchSizeMax && this.#head < this.#waiting.length) {
      const buyer = this.#waiting[this.#head++]!;
      if (buyer.isAborted) continue;
      if (buyer.queuedAt < latestStart) buyer.settle({ outcome: 'overloaded' });
      else batch.push(buyer);
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head > 1_024 && this.#head > this.#waiting.length / 2) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return batch;
  }

  async #send(batch: QueuedPurchase[]): Promise<void> {
    this.#inFlight++;
    const sentAt = performance.now();
    const tag = newTag();
    let outcomes: ReserveOutcome[] | Fault;
    try {
      outcomes = await this.#shards.call(reserve, this.#saleId, {
        tag,
        backlogMax: this.#limits.backlogMax(),
        requests: batch,
      });
    } catch (error) {
      outcomes =
        error instanceof Fault ? error : new Fault('outcome_unknown', undefined, { cause: error });
    }
    this.#inFlight--;
    const callMs = performance.now() - sentAt;
    this.#remember(callMs);
    // The slot is free: let the next batch leave before this one's answers are written.
    this.#schedule();
    if (outcomes instanceof Fault) {
      this.#observer.faulted(outcomes, batch.length);
      for (const buyer of batch) buyer.fail(outcomes);
      return;
    }
    for (let i = 0; i < batch.length; i++) batch[i]!.settle(outcomes[i]!);
    this.#observer.decided(tag, batch, outcomes, callMs / 1_000);
  }
}
