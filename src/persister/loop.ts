/** Loops that run turns until they are stopped, with a pause after each turn that a wake-up ends. */
import { backoffMs } from '../process/backoff.ts';
import type { PersisterContext } from './context.ts';
import { StoppingError } from './database/database.ts';

export interface LoopOptions {
  /** Before the first turn. Default 0. */
  firstMs?: number;
  /** Returns the milliseconds until the next turn, Infinity: until woken; undefined: back off, as after a failure. */
  turn: () => Promise<number | undefined>;
  /** What it throws ends the loop. */
  onFailure: (error: unknown) => void | Promise<void>;
  backoff: { firstMs: number; mostMs: number };
  /** After `stop`, turns continue for as long as this holds. */
  hasUnfinishedWork?: () => boolean;
}

export class Loop {
  readonly #options: LoopOptions;
  #failures = 0;
  #isStopping = false;
  /** A wake-up that came during a turn: what it announces may be newer than what the turn has seen. */
  #isWoken = false;
  #endPause: (() => void) | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Whether a wake-up came during the current turn. */
  get isWoken(): boolean {
    return this.#isWoken;
  }

  /** Resolves once stopped, or when the process stops. */
  async run(): Promise<void> {
    const { turn, onFailure, backoff, firstMs = 0 } = this.#options;
    await this.#pause(firstMs);
    while (!this.#isStopping || this.#options.hasUnfinishedWork?.()) {
      this.#isWoken = false;
      let delayMs: number | undefined;
      try {
        delayMs = await turn();
      } catch (error) {
        if (error instanceof StoppingError) return;
        await onFailure(error);
      }
      if (delayMs === undefined) {
        delayMs = backoffMs(this.#failures++, backoff.firstMs, backoff.mostMs);
      } else {
        this.#failures = 0;
      }
      await this.#pause(delayMs);
    }
  }

  /** Ends the current pause; if a turn is running, the next one follows without a pause. */
  wake(): void {
    this.#isWoken = true;
    this.#endPause?.();
  }

  stop(): void {
    this.#isStopping = true;
    this.#endPause?.();
  }

  stopWith(signal: AbortSignal): this {
    if (signal.aborted) this.stop();
    signal.addEventListener('abort', () => this.stop(), { once: true });
    return this;
  }

  async #pause(delayMs: number): Promise<void> {
    if (this.#isStopping || this.#isWoken || delayMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = Number.isFinite(delayMs) ? setTimeout(resolve, delayMs) : undefined;
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#endPause = undefined;
  }
}

/** Runs a job periodically until the signal aborts, unless this database does not belong to Redis. A failure costs that
 * round only. */
export async function repeat(
  { log, stopping, pairing }: PersisterContext,
  job: string,
  intervalMs: number,
  round: () => Promise<void>,
): Promise<void> {
  const loop = new Loop({
    turn: async () => {
      if (await pairing.mayWork()) await round();
      return intervalMs;
    },
    onFailure: (err) => log.warn({ err, job }, 'periodic job failed'),
    backoff: { firstMs: intervalMs, mostMs: intervalMs },
  });
  await loop.stopWith(stopping).run();
}
