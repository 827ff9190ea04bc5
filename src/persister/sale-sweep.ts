/**
 * One sale's sweep: ends expired holds and serves the waitlist, by one script (sweep.lua). It needs only Redis, so holds
 * end on time also while the drain or PostgreSQL fails.
 *
 * Each reply says when the next sweep is needed. A hint that the sale has changed brings it forward. Hints can be lost, so
 * a sale is also swept every few seconds, and every few minutes if nothing can happen by itself. Those sweeps also notice
 * events that nobody drains and a sale that is closed, and wake the drain; idle-looks.ts looks for both more often.
 *
 * Every persister sweeps every sale. Two at once share the work: the script takes holds in the order of their deadlines,
 * and each call is atomic, so a persister that dies between two calls leaves nothing half done.
 */
import { Fault } from '../domain/fault.ts';
import { newTag } from '../domain/identifiers.ts';
import { HOLDS_PER_CALL, type SweepReply, sweep } from '../lua/buy/sweep.ts';
import type { PersisterContext } from './context.ts';
import { Loop } from './loop.ts';

/** Deadlines a few milliseconds apart are served together. */
const PAUSE_MS_MIN = 10;
/** Keeps several persisters from calling at the same deadline. */
const JITTER_MS = 20;
/** Hints cause at most one sweep in this time. */
const HINTED_MS = 50;
/** How often hot paths are notified of returned units during a long sweep. */
const ANNOUNCE_MS = 100;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MOST_MS = 1_000;

export interface SweepOptions {
  saleId: string;
  /** Until the first sweep. */
  firstMs: number;
  isAtRest: () => boolean;
  /** The longest time between two sweeps of a sale that is not at rest. */
  lookMs: () => number;
  /** The sale is closed or has events that are not drained, or the script failed on its data. */
  onWork: (found: 'closed' | 'backlog' | 'failure') => void;
  /** Called now and then: nothing else looks at a sale without buyers. */
  onLook: () => void;
}

export class SaleSweep {
  readonly #context: PersisterContext;
  readonly #saleId: string;
  readonly #isAtRest: SweepOptions['isAtRest'];
  readonly #lookMs: SweepOptions['lookMs'];
  readonly #onWork: SweepOptions['onWork'];
  readonly #onLook: SweepOptions['onLook'];
  readonly #loop: Loop;
  #sweptMs = Number.NEGATIVE_INFINITY;
  #lookedMs = performance.now();
  #hintTimer: NodeJS.Timeout | undefined;
  #hintDueMs = Number.POSITIVE_INFINITY;
  #isUnannounced = false;
  #announcedMs = 0;
  #lastFailure = '';

  constructor(context: PersisterContext, options: SweepOptions) {
    const { saleId, firstMs, isAtRest, lookMs, onWork, onLook } = options;
    this.#context = context;
    this.#saleId = saleId;
    this.#isAtRest = isAtRest;
    this.#lookMs = lookMs;
    this.#onWork = onWork;
    this.#onLook = onLook;
    this.#loop = new Loop({
      firstMs,
      turn: async () => {
        const reply = await this.#sweep();
        await this.#announce(reply);
        this.#lastFailure = '';
        this.#lookIfDue();
        return this.#delayAfter(reply);
      },
      onFailure: (error) => this.#report(error),
      backoff: { firstMs: BACKOFF_FIRST_MS, mostMs: BACKOFF_MOST_MS },
    });
  }

  /** Resolves once stopped. Never rejects. */
  async run(): Promise<void> {
    await this.#loop.run();
    clearTimeout(this.#hintTimer);
  }

  /** The sale may have changed. Sweeps after `delayMs`, and soon after the last sweep at the earliest. */
  hint(delayMs = 0): void {
    const nowMs = performance.now();
    const dueMs = Math.max(nowMs + delayMs, this.#sweptMs + HINTED_MS);
    if (dueMs >= this.#hintDueMs || this.#loop.isStopping) return;
    clearTimeout(this.#hintTimer);
    this.#hintDueMs = dueMs;
    this.#hintTimer = setTimeout(() => {
      this.#hintDueMs = Number.POSITIVE_INFINITY;
      this.#loop.wake();
    }, dueMs - nowMs);
  }

  /** Sweeps after `delayMs`, and calls `onLook`. */
  look(delayMs: number): void {
    this.#lookedMs = Number.NEGATIVE_INFINITY;
    this.hint(delayMs);
  }

  stop(): void {
    this.#loop.stop();
    clearTimeout(this.#hintTimer);
  }

  async #sweep(): Promise<SweepReply> {
    const { shards, metrics } = this.#context;
    this.#sweptMs = performance.now();
    const stopTimer = metrics.sweepSeconds.startTimer();
    const reply = await shards.call(sweep, this.#saleId, { most: HOLDS_PER_CALL, tag: newTag() });
    stopTimer();
    if (reply.outcome !== 'swept') return reply;
    metrics.expired.inc(reply.expired);
    metrics.served.inc(reply.served);
    if (reply.expired > 0) metrics.expiryDelaySeconds.observe(reply.lateMs / 1_000);
    return reply;
  }

  /** Notifies hot paths of returned units, at the end of a sweep and every `ANNOUNCE_MS` during it. */
  async #announce(reply: SweepReply): Promise<void> {
    if (reply.outcome !== 'swept') return;
    this.#isUnannounced ||= reply.expired > 0 || reply.served > 0;
    const isOver = reply.nextDueMs !== 0;
    if (!this.#isUnannounced) return;
    if (!isOver && performance.now() - this.#announcedMs < ANNOUNCE_MS) return;
    await this.#context.shards.publishChanged(this.#saleId);
    this.#isUnannounced = false;
    this.#announcedMs = performance.now();
  }

  #lookIfDue(): void {
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < this.#lookMs() / 2) return;
    this.#lookedMs = nowMs;
    this.#onLook();
  }

  #delayAfter(reply: SweepReply): number {
    const { restLookMs } = this.#context.timings;
    const lookMs = this.#lookMs();
    if (reply.outcome !== 'swept') {
      // The drain or another persister opens it, and then this sweep gets a hint.
      this.#onWork('closed');
      return spread(this.#isAtRest() ? restLookMs : lookMs);
    }
    if (reply.nextDueMs === 0) return 0;
    if (reply.backlog > 0) this.#onWork('backlog');
    if (reply.nextDueMs === undefined) return spread(restLookMs);
    const dueMs = Math.max(PAUSE_MS_MIN, reply.nextDueMs) + Math.random() * JITTER_MS;
    return Math.min(dueMs, spread(lookMs));
  }

  /** Logs each new failure once; the Redis connection reports its own. */
  #report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const isReported = error instanceof Fault && error.code === 'not_sent';
    if (error instanceof Fault && error.code === 'script_failed') this.#onWork('failure');
    if (message === this.#lastFailure || isReported) return;
    this.#lastFailure = message;
    this.#context.log.warn({ saleId: this.#saleId, err: error }, 'sweep failed, trying again');
  }
}

/** At most `mostMs`, so that the sweeps of many sales spread evenly, however they began. */
function spread(mostMs: number): number {
  return mostMs * (0.75 + Math.random() * 0.25);
}
