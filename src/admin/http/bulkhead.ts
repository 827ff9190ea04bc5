/**
 * Calls under way: so many of each operation and no more, and each answered in time. A PostgreSQL that says nothing
 * would otherwise be waited for by ever more callers, and by none of those who need it not.
 */
import { type Answer, type Refusal, refuse } from './outcome.ts';

/** Of one operation. Each may have a place in the line for PostgreSQL, also when its caller has long gone. */
const UNDER_WAY_MAX = 200;
/** Those who call give up after half a minute. */
const ANSWER_MS_MAX = 20_000;

export interface CallBounds {
  underWayMax?: number;
  answerMsMax?: number;
}

const NO_ANSWER_YET = refuse('unavailable', {
  detail:
    'It takes too long, and whether it was done is not known. Look before you ask again, or ask with the same Idempotency-Key.',
});

export class UnderWay {
  readonly #most: number;
  readonly #answerMsMax: number;
  #count = 0;

  constructor({ underWayMax = UNDER_WAY_MAX, answerMsMax = ANSWER_MS_MAX }: CallBounds) {
    this.#most = underWayMax;
    this.#answerMsMax = answerMsMax;
  }

  /** Counts as under way until the work has ended and its caller has heard all of it. Throws what the work throws. */
  async run(
    work: () => Promise<Answer | Refusal>,
    heard: Promise<void>,
  ): Promise<Answer | Refusal> {
    if (this.#count >= this.#most) return refuse('overloaded');
    this.#count += 1;
    const working = work();
    void Promise.allSettled([working, heard]).finally(() => {
      this.#count -= 1;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Refusal>((resolve) => {
      timer = setTimeout(() => resolve(NO_ANSWER_YET), this.#answerMsMax);
    });
    try {
      return await Promise.race([working, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
