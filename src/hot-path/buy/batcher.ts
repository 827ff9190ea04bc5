/**
 * Group commit for one sale: purchases wait only while a call is in flight, then the next call takes all of them. A full
 * batch does not wait. Under light load a purchase takes one round trip; under heavy load one call carries a hundred
 * decisions.
 */
import { Fault } from '../../domain/fault.ts';
import { newTag } from '../../domain/identifiers.ts';
import {
  type ReserveDecision,
  type ReserveOutcome,
  type ReserveRequest,
  reserve,
} from '../../lua/buy/reserve.ts';
import { endDueHolds } from '../../redis/due-holds.ts';
import type { Shards } from '../../redis/shards.ts';

/** A purchase that waited longer is refused, because its client has most likely timed out. */
const WAIT_MS_MAX = 4_000;
/** A purchase whose expected wait is longer is refused immediately. */
const EXPECTED_WAIT_MS_MAX = 2_000;
/** The fastest of the last calls estimates the duration of a call, so one slow call does not cause refusals. */
const CALLS_MEASURED = 4;

/** An item of a large basket takes Redis up to twice as long as a purchase of one item, see bench/hostile.ts. */
const BASKET_ITEM_COST = 2;

/** What a purchase adds to a batch, in purchases of one item. */
export function costOf({ itemCount }: { itemCount: number }): number {
  return itemCount === 1 ? 1 : BASKET_ITEM_COST * itemCount;
}

/** A purchase that found due holds as often waits for a repair: they cannot be ended. */
const REPEATS_MAX = 5;

export interface QueuedPurchase extends ReserveRequest {
  /** On this process' monotonic clock. A slow upload does not count as waiting. */
  queuedAt: number;
  /** Of the buyer, see domain/winner-announcement.ts. */
  readonly fingerprint: number;
  /** Number of different SKUs, at most 10. */
  readonly itemCount: number;
  /** How often it found holds that were due, and was decided again after their end. */
  repeats: number;
  /** The client closed the connection: the purchase is dropped before the call. */
  readonly isAborted: boolean;
  /** Once it is settled, while traces are on. */
  readonly span?: unknown;
  /** The batcher calls one of the two, once, unless the client closed the connection. Neither may throw. */
  settle(decision: ReserveDecision): void;
  fail(fault: Fault): void;
}

export interface BatcherLimits {
  /** In purchases of one item, see `costOf`. A larger basket is sent alone. */
  batchSizeMax: number;
  inFlightMax: number;
  waitingMax: number;
  /** Read for each call; 0: no new reservations. */
  backlogMax: () => number;
}

export interface BatcherObserver {
  decided(
    tag: string,
    batch: readonly QueuedPurchase[],
    outcomes: readonly ReserveOutcome[],
    seconds: number,
  ): void;
  faulted(fault: Fault, size: number): void;
  /** An exception after the responses. */
  failed(error: unknown): void;
}

export class Batcher {
  readonly #saleId: string;
  readonly #shards: Shards;
  readonly #limits: BatcherLimits;
  readonly #observer: BatcherObserver;
  #waiting: QueuedPurchase[] = [];
  /** Index of the first waiting purchase; the entries before it are done. */
  #head = 0;
  #waitingCost = 0;
  #inFlight = 0;
  /** Purchases that wait for the end of due holds. */
  #repeating = 0;
  #isScheduled = false;
  readonly #lastCallsMs: number[] = [];
  /** Estimated duration of a call; 0 before the first. */
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
    return this.waiting === 0 && this.#inFlight === 0 && this.#repeating === 0;
  }

  /** False: the queue is full, or the expected wait is too long. */
  submit(purchase: QueuedPurchase): boolean {
    if (this.waiting >= this.#limits.waitingMax) return false;
    if (this.#expectedWaitMs() > EXPECTED_WAIT_MS_MAX) return false;
    this.#enqueue(purchase);
    this.#schedule();
    return true;
  }

  #enqueue(purchase: QueuedPurchase): void {
    this.#waiting.push(purchase);
    this.#waitingCost += costOf(purchase);
  }

  /** The expected time until the queue is empty. */
  #expectedWaitMs(): number {
    const { batchSizeMax, inFlightMax } = this.#limits;
    return (this.#waitingCost / batchSizeMax / inFlightMax) * this.#callMs;
  }

  #measure(callMs: number): void {
    this.#lastCallsMs.push(callMs);
    if (this.#lastCallsMs.length > CALLS_MEASURED) this.#lastCallsMs.shift();
    this.#callMs = Math.min(...this.#lastCallsMs);
  }

  #schedule(): void {
    // One turn of the event loop can handle a thousand sockets, so a full batch does not wait for its end.
    if (this.#isFull) {
      this.#sendWaiting();
    } else if (this.#inFlight === 0 && this.waiting > 0 && !this.#isScheduled) {
      this.#isScheduled = true;
      // At the end of this turn, all requests that were read in it go together.
      setImmediate(() => {
        this.#isScheduled = false;
        this.#sendWaiting();
      });
    }
  }

  get #isFull(): boolean {
    return this.#waitingCost >= this.#limits.batchSizeMax;
  }

  /** Beside a call in flight, only a full batch is sent: a smaller one costs more, and waits in Redis for that call too. */
  #sendWaiting(): void {
    const { inFlightMax } = this.#limits;
    while (this.#inFlight === 0 ? this.waiting > 0 : this.#isFull && this.#inFlight < inFlightMax) {
      const batch = this.#take();
      if (batch.length === 0) continue;
      this.#send(batch).catch((error: unknown) => this.#observer.failed(error));
    }
  }

  #take(): QueuedPurchase[] {
    const batch: QueuedPurchase[] = [];
    const latestStart = performance.now() - WAIT_MS_MAX;
    let cost = 0;
    while (this.#head < this.#waiting.length) {
      const purchase = this.#waiting[this.#head]!;
      const purchaseCost = costOf(purchase);
      if (batch.length > 0 && cost + purchaseCost > this.#limits.batchSizeMax) break;
      this.#head++;
      this.#waitingCost -= purchaseCost;
      if (purchase.isAborted) continue;
      cost += purchaseCost;
      if (purchase.queuedAt < latestStart) purchase.settle({ outcome: 'overloaded' });
      else batch.push(purchase);
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
    this.#measure(callMs);
    // Send the next batch before writing the responses of this one.
    this.#schedule();
    if (outcomes instanceof Fault) {
      this.#observer.faulted(outcomes, batch.length);
      for (const purchase of batch) purchase.fail(outcomes);
      return;
    }
    const repeated: QueuedPurchase[] = [];
    for (let i = 0; i < batch.length; i++) {
      const outcome = outcomes[i]!;
      if (outcome.outcome === 'holds_due') repeated.push(batch[i]!);
      else batch[i]!.settle(outcome);
    }
    if (repeated.length > 0) void this.#repeat(repeated);
    this.#observer.decided(tag, batch, outcomes, callMs / 1_000);
  }

  /** Decides purchases again after the end of due holds, whose units they may get. */
  async #repeat(purchases: readonly QueuedPurchase[]): Promise<void> {
    this.#repeating += purchases.length;
    let fault: Fault | undefined;
    try {
      await endDueHolds(this.#shards, this.#saleId);
    } catch (error) {
      fault =
        error instanceof Fault ? error : new Fault('not_executed', undefined, { cause: error });
    }
    this.#repeating -= purchases.length;
    for (const purchase of purchases) {
      purchase.repeats += 1;
      if (fault) purchase.fail(fault);
      else if (purchase.repeats > REPEATS_MAX) purchase.settle({ outcome: 'overloaded' });
      else this.#enqueue(purchase);
    }
    this.#schedule();
  }
}
