/**
 * Announces the winners of this process' batches to all hot paths. One message carries many batches, because a message
 * costs Redis and each hot path more than the winners in it. The more hot paths listen, the longer it waits: Redis sends
 * a message to each of them.
 */
import { randomBytes } from 'node:crypto';
import { formatAnnouncement, type WinnerRun } from '../../domain/winner-announcement.ts';

/** Short enough that few winners are unknown to the others at the sell-out. */
const INTERVAL_MS_MIN = 50;
const INTERVAL_MS_MAX = 1_000;
/** So that Redis sends at most this many messages a second while all hot paths sell: a few hundredths of its time. */
const MESSAGES_PER_SECOND_MAX = 10_000;

export class WinnerAnnouncer {
  readonly sender = randomBytes(8).toString('hex');
  /** Resolves to the number of hot paths that got the message. */
  readonly #publish: (saleId: string, message: Buffer) => Promise<number>;
  readonly #pending = new Map<string, { timeline: number; runs: WinnerRun[] }>();
  #intervalMs = INTERVAL_MS_MIN;
  #dueAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(publish: (saleId: string, message: Buffer) => Promise<number>) {
    this.#publish = publish;
  }

  add(saleId: string, timeline: number, run: WinnerRun): void {
    if (this.#pending.get(saleId)?.timeline !== timeline) this.flush(saleId);
    const pending = this.#pending.get(saleId);
    if (pending) pending.runs.push(run);
    else this.#pending.set(saleId, { timeline, runs: [run] });
    const nowMs = performance.now();
    if (this.#timer === undefined) {
      this.#dueAt = nowMs + this.#intervalMs;
      this.#timer = setTimeout(() => this.#flushAll(), this.#intervalMs);
    } else if (nowMs >= this.#dueAt) {
      // Timers starve while many sockets are ready.
      this.#flushAll();
    }
  }

  /** Announces what is known of this sale now. */
  flush(saleId: string): void {
    const pending = this.#pending.get(saleId);
    if (!pending) return;
    this.#pending.delete(saleId);
    void this.#send(saleId, formatAnnouncement({ sender: this.sender, ...pending }));
  }

  async #send(saleId: string, message: Buffer): Promise<void> {
    try {
      const listeners = await this.#publish(saleId, message);
      const intervalMs = (listeners ** 2 / MESSAGES_PER_SECOND_MAX) * 1_000;
      this.#intervalMs = Math.min(Math.max(intervalMs, INTERVAL_MS_MIN), INTERVAL_MS_MAX);
    } catch {
      // Only a hint: the others read these winners from the order.
    }
  }

  close(): void {
    this.#flushAll();
  }

  #flushAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const saleId of this.#pending.keys()) this.flush(saleId);
  }
}
