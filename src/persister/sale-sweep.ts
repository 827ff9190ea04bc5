/**
 * One sale's sweep: ends expired holds and serves the waitlist, by one script (sweep.lua). It needs only Redis, so holds
 * end on time also while the drain or PostgreSQL fails.
 *
 * Every persister sweeps every sale. Two at once share the work: the script takes holds in the order of their deadlines,
 * and each call is atomic, so a persister that dies between two calls leaves nothing half done.
 */
import { Fault } from '../domain/fault.ts';
import { newTag } from '../domain/identifiers.ts';
import type { SaleStatus } from '../domain/sale.ts';
import { type SweepReply, sweep } from '../lua/buy/sweep.ts';
import type { PersisterContext } from './context.ts';
import { Loop } from './loop.ts';

/** Blocks Redis, and so its buyers, for half a millisecond, see bench/expiry.ts. */
export const HOLDS_PER_CALL = 50;
/** The longest pause while a sale can sell: a new batch may have an earlier deadline than the last reply announced, and
 * nothing announces restocked units or a resumed sale, which the waitlist waits for. */
const SELLING_MS_MAX = 200;
/** Deadlines a few milliseconds apart are served together. */
const PAUSE_MS_MIN = 10;
/** Keeps several persisters from calling at the same deadline. */
const JITTER_MS = 20;
/** How often hot paths are notified of returned units during a long sweep. */
const ANNOUNCE_MS = 100;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MOST_MS = 1_000;

export class SaleSweep {
  readonly saleId: string;
  readonly #context: PersisterContext;
  readonly #loop: Loop;
  #status: SaleStatus;
  #isUnannounced = false;
  #announcedMs = 0;
  #lastFailure = '';

  constructor(context: PersisterContext, saleId: string, status: SaleStatus) {
    this.saleId = saleId;
    this.#context = context;
    this.#status = status;
    this.#loop = new Loop({
      turn: async () => {
        const reply = await this.#sweep();
        await this.#announce(reply);
        if (reply.outcome === 'recovering') return undefined;
        this.#lastFailure = '';
        return this.#delayAfter(reply);
      },
      onFailure: (error) => this.#report(error),
      backoff: { firstMs: BACKOFF_FIRST_MS, mostMs: BACKOFF_MOST_MS },
    });
  }

  /** Resolves once stopped. Never rejects. */
  async run(): Promise<void> {
    await this.#loop.run();
  }

  update(status: SaleStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#loop.wake();
  }

  stop(): void {
    this.#loop.stop();
  }

  async #sweep(): Promise<SweepReply> {
    const { shards, metrics } = this.#context;
    const stopTimer = metrics.sweepSeconds.startTimer();
    const reply = await shards.call(sweep, this.saleId, { most: HOLDS_PER_CALL, tag: newTag() });
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
    await this.#context.shards.publishChanged(this.saleId);
    this.#isUnannounced = false;
    this.#announcedMs = performance.now();
  }

  #delayAfter(reply: Exclude<SweepReply, { outcome: 'recovering' }>): number {
    const nextDueMs = reply.outcome === 'swept' ? reply.nextDueMs : undefined;
    if (nextDueMs === 0) return 0;
    const isSelling = this.#status === 'open' || this.#status === 'paused';
    const mostMs = isSelling ? SELLING_MS_MAX : this.#context.timings.restMs;
    const dueMs = Math.max(PAUSE_MS_MIN, Math.min(nextDueMs ?? mostMs, mostMs - JITTER_MS));
    return dueMs + Math.random() * JITTER_MS;
  }

  /** Logs each new failure once; the Redis connection reports its own. */
  #report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const isReported = error instanceof Fault && error.code === 'not_sent';
    if (message === this.#lastFailure || isReported) return;
    this.#lastFailure = message;
    this.#context.log.warn({ saleId: this.saleId, err: error }, 'sweep failed, trying again');
  }
}
