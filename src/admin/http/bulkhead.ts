/**
 * Limits the concurrent requests of one operation and the time of each. Without a limit, an unresponsive PostgreSQL
 * would tie up every caller, even those of operations that do not need it.
 */
import { type Outcome, type Refusal, refuse } from './outcome.ts';

/** Per operation. Each request can occupy a slot in the queue for PostgreSQL, even after its client has disconnected. */
const CONCURRENT_MAX = 200;
/** Below the 30 s after which clients commonly time out. */
const TIMEOUT_MS = 20_000;

export interface BulkheadLimits {
  concurrentMax?: number;
  timeoutMs?: number;
}

const TIMED_OUT = refuse('unavailable', {
  detail:
    'The request took too long, and its outcome is unknown. Check the current state before you repeat it, or repeat it with the same Idempotency-Key.',
});

export class Bulkhead {
  readonly #concurrentMax: number;
  readonly #timeoutMs: number;
  #running = 0;

  constructor({ concurrentMax = CONCURRENT_MAX, timeoutMs = TIMEOUT_MS }: BulkheadLimits) {
    this.#concurrentMax = concurrentMax;
    this.#timeoutMs = timeoutMs;
  }

  /** The request counts until the work has ended and `sent` has resolved. Rejects as the work does. */
  async run(work: () => Promise<Outcome>, sent: Promise<void>): Promise<Outcome> {
    if (this.#running >= this.#concurrentMax) return refuse('overloaded');
    this.#running += 1;
    const working = work();
    void Promise.allSettled([working, sent]).finally(() => {
      this.#running -= 1;
    });
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<Refusal>((resolve) => {
      timer = setTimeout(() => resolve(TIMED_OUT), this.#timeoutMs);
    });
    try {
      return await Promise.race([working, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}
