/**
 * Grants turns to the drains of all sales, the most urgent sale first. Sales at rest have one lane of their own: their
 * recoveries delay no sale that buyers wait for, and cannot be delayed for ever by busy ones. After such a turn the lane
 * pauses for as long as the turn took, so that thousands of them leave half of the time to others.
 */
import { pause } from '../process/backoff.ts';
import { StoppingError } from './database/database.ts';

/** Smaller is more urgent. Equally urgent turns begin in the order of their requests. */
export const URGENCY = { awaited: 0, selling: 1, starting: 2, paused: 3, atRest: 4 } as const;
export type Urgency = (typeof URGENCY)[keyof typeof URGENCY];

interface Waiter {
  urgency: Urgency;
  begin: () => void;
  reject: (error: Error) => void;
}

export class TurnQueue {
  readonly #stopping: AbortSignal;
  readonly #waiters = Object.values(URGENCY).map(() => new Map<object, Waiter>());
  #free: number;
  #isRestLaneFree = true;

  /** When the process stops, turns that still wait are rejected with a `StoppingError`. */
  constructor(turnsMax: number, stopping: AbortSignal) {
    this.#free = turnsMax;
    this.#stopping = stopping;
    stopping.addEventListener('abort', () => this.#rejectAll(), { once: true });
  }

  /** Whether a turn waits that is not for a sale at rest. */
  get hasWaiters(): boolean {
    return this.#waiters.some(({ size }, urgency) => size > 0 && urgency < URGENCY.atRest);
  }

  /** A drain waits for at most one turn. */
  async run<T>(drain: object, urgency: Urgency, work: () => Promise<T>): Promise<T> {
    const waiter = await new Promise<Waiter>((resolve, reject) => {
      const added: Waiter = { urgency, begin: () => resolve(added), reject };
      this.#waiters[urgency]!.set(drain, added);
      if (this.#stopping.aborted) this.#rejectAll();
      else this.#grant();
    });
    const startedMs = performance.now();
    try {
      return await work();
    } finally {
      if (waiter.urgency === URGENCY.atRest)
        void this.#pauseRestLane(performance.now() - startedMs);
      else {
        this.#free += 1;
        this.#grant();
      }
    }
  }

  /** Somebody waits for the sale of this drain. */
  promote(drain: object): void {
    for (const waiters of this.#waiters) {
      const waiter = waiters.get(drain);
      if (!waiter) continue;
      waiters.delete(drain);
      waiter.urgency = URGENCY.awaited;
      this.#waiters[URGENCY.awaited]!.set(drain, waiter);
      this.#grant();
      return;
    }
  }

  #grant(): void {
    for (const [urgency, waiters] of this.#waiters.entries()) {
      for (const [drain, waiter] of waiters) {
        const isAtRest = urgency === URGENCY.atRest;
        if (isAtRest ? !this.#isRestLaneFree : this.#free === 0) break;
        if (isAtRest) this.#isRestLaneFree = false;
        else this.#free -= 1;
        waiters.delete(drain);
        waiter.begin();
      }
    }
  }

  async #pauseRestLane(tookMs: number): Promise<void> {
    await pause(tookMs, this.#stopping);
    this.#isRestLaneFree = true;
    this.#grant();
  }

  #rejectAll(): void {
    for (const waiters of this.#waiters) {
      for (const { reject } of waiters.values()) reject(new StoppingError());
      waiters.clear();
    }
  }
}
