/**
 * One sale's other loop: ends the holds whose time is over and serves those who wait, by the script that decides
 * both (see sweep.lua). It needs Redis only, so holds end on time whatever becomes of draining and of PostgreSQL.
 *
 * Every persister runs one for every sale. Two at once share the work, because the script takes what is due in the
 * order of its deadlines and each call is atomic; one that dies between two calls leaves nothing half done.
 */
import { Fault } from '../domain/fault.ts';
import { newTag } from '../domain/identifiers.ts';
import type { SaleStatus } from '../domain/sale.ts';
import { type SweepReply, sweep } from '../lua/buy/sweep.ts';
import { backoffMs, pause } from '../process/backoff.ts';
import type { RecoveryContext } from './recover/recover.ts';

/** Holds looked at by one call. Keeps Redis busy for half a millisecond, see bench/expiry.ts: buyers wait meanwhile. */
export const HOLDS_PER_CALL = 50;
/** A batch that has just been decided may have an earlier deadline than the last answer said, and restocked units or
 * a resumed sale are for those who wait: neither is announced, so a sale that can sell is looked at so often. */
const SELLING_MS_MAX = 200;
/** Deadlines a few milliseconds apart are met together. */
const PAUSE_MS_MIN = 10;
/** Drawn anew each time, so that several persisters do not all call at the same deadline for the work of one. */
const JITTER_MS = 20;
/** During a long sweep the front ends hear of what returns so often, not once a call. */
const ANNOUNCE_MS = 100;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MOST_MS = 1_000;

export class SaleSweep {
  readonly saleId: string;
  readonly #context: Pick<RecoveryContext, 'shards' | 'log' | 'metrics'>;
  readonly #restMs: number;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #status: SaleStatus;
  #isUnannounced = false;
  #announcedMs = 0;
  #lastComplaint = '';

  constructor(
    context: Pick<RecoveryContext, 'shards' | 'log' | 'metrics'>,
    options: { saleId: string; status: SaleStatus; restMs: number },
  ) {
    this.saleId = options.saleId;
    this.#context = context;
    this.#status = options.status;
    this.#restMs = options.restMs;
  }

  /** Resolves once stopped. Never rejects. */
  async run(): Promise<void> {
    let failures = 0;
    while (!this.#stopping.signal.aborted) {
      let delayMs: number;
      try {
        const reply = await this.#sweep();
        await this.#announce(reply);
        if (reply.outcome === 'recovering') {
          delayMs = backoffMs(failures++, BACKOFF_FIRST_MS, BACKOFF_MOST_MS);
        } else {
          failures = 0;
          this.#lastComplaint = '';
          delayMs = this.#delayAfter(reply);
        }
      } catch (error) {
        this.#complain(error);
        delayMs = backoffMs(failures++, BACKOFF_FIRST_MS, BACKOFF_MOST_MS);
      }
      if (delayMs > 0) await this.#rest(delayMs);
    }
  }

  /** What operators made of the sale. */
  update(status: SaleStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#wake.abort();
  }

  stop(): void {
    this.#stopping.abort();
    this.#wake.abort();
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

  /** Tells the front ends that there is something to be had again: at the end of a sweep, and now and then within. */
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
    const mostMs = isSelling ? SELLING_MS_MAX : this.#restMs;
    const dueMs = Math.max(PAUSE_MS_MIN, Math.min(nextDueMs ?? mostMs, mostMs - JITTER_MS));
    return dueMs + Math.random() * JITTER_MS;
  }

  /** Once for each new trouble; that Redis is away is said by the connection. */
  #complain(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const isReported = error instanceof Fault && error.code === 'not_sent';
    if (message === this.#lastComplaint || isReported) return;
    this.#lastComplaint = message;
    this.#context.log.warn({ saleId: this.saleId, err: error }, 'sweeping stopped, trying again');
  }

  async #rest(delayMs: number): Promise<void> {
    this.#wake = new AbortController();
    if (!this.#stopping.signal.aborted) await pause(delayMs, this.#wake.signal);
  }
}
