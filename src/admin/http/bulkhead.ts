/**
 * Calls under way: so many of each operation and no more, and each answered in time. A PostgreSQL that says nothing
 * would otherwise be waited for by ever more callers, and by none of those who need it not.
 */
import { type Outcome, type Refusal, refuse } from './outcome.ts';

/** Of one operation. Each may have a place in the line for PostgreSQL, also when its caller has long gone. */
const CONCURRENT_MAX = 200;
/** Those who call give up after half a minute. */
const TIMEOUT_MS = 20_000;

export interface BulkheadLimits {
  concurrentMax?: number;
  timeoutMs?: number;
}

const NO_ANSWER_YET = refuse('unavailable', {
  detail:
    'It takes too long, and whether it was done is not known. Look before you ask again, or ask with the same Idempotency-Key.',
});

export class Bulkhead {
  readonly #most: number;
  readonly #timeoutMs: number;
  #count = 0;

  constructor({ concurrentMax = CONCURRENT_MAX, timeoutMs = TIMEOUT_MS }: BulkheadLimits) {
    this.#most = concurrentMax;
    this.#timeoutMs = timeoutMs;
  }

  /** Counts as under way until the work has ended and its caller has heard all of it. Throws what the work throws. */
  async run(work: () => Promise<Outcome>, heard: Promise<void>): Promise<Outcome> {
    if (this.#count >= this.#most) return refuse('overloaded');
    this.#count += 1;
    const working = work();
    void Promise.allSettled([working, heard]).finally(() => {
      this.#count -= 1;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Refusal>((resolve) => {
      timer = setTimeout(() => resolve(NO_ANSWER_YET), this.#timeoutMs);
    });
    try {
      return await Promise.race([working, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
