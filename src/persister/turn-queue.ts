/**
 * Grants turns to the drains of all sales, the most urgent sale first. Sales at rest have one lane of their own: their
 * recoveries delay no sale that buyers wait for, and cannot be delayed for ever by busy ones. After such a turn the lane
 * pauses for as long as the turn took, so that thousands of them leave half of the time to others.
 */
import { pause } from '../process/backoff.ts';

/** Smaller is more urgent. Sales that are not selling yet are ordered by their start, see `urgencyOf`. */
export const URGENCY = { awaited: 0, selling: 1, starting: 2, paused: 3, atRest: 4 } as const;

interface Waiter {
  /** Asked at every grant: it may change while the turn waits. */
  urgency: () => number;
  begin: (isAtRest: boolean) => void;
}

export class TurnQueue {
  readonly #stopping: AbortSignal;
  readonly #waiters = new Set<Waiter>();
  #free: number;
  #isRestLaneFree = true;

  constructor(turnsMax: number, stopping: AbortSignal) {
    this.#free = turnsMax;
    this.#stopping = stopping;
  }

  /** Whether a turn waits that is not for a sale at rest. */
  get hasWaiters(): boolean {
    return (
      this.#free === 0 && this.#mostUrgent((urgency) => urgency < URGENCY.atRest) !== undefined
    );
  }

  async run<T>(urgency: () => number, work: () => Promise<T>): Promise<T> {
    const isAtRest = await new Promise<boolean>((resolve) => {
      this.#waiters.add({ urgency, begin: resolve });
      this.grant();
    });
    const startedMs = performance.now();
    try {
      return await work();
    } finally {
      if (isAtRest) void this.#restoreRestLane(performance.now() - startedMs);
      else {
        this.#free += 1;
        this.grant();
      }
    }
  }

  /** Must be called after the urgency of a waiting turn has changed. */
  grant(): void {
    while (this.#free > 0) {
      const next = this.#mostUrgent((urgency) => urgency < URGENCY.atRest);
      if (!next) break;
      this.#free -= 1;
      this.#begin(next, false);
    }
    const resting =
      this.#isRestLaneFree && this.#mostUrgent((urgency) => urgency >= URGENCY.atRest);
    if (!resting) return;
    this.#isRestLaneFree = false;
    this.#begin(resting, true);
  }

  #begin(waiter: Waiter, isAtRest: boolean): void {
    this.#waiters.delete(waiter);
    waiter.begin(isAtRest);
  }

  async #restoreRestLane(tookMs: number): Promise<void> {
    await pause(tookMs, this.#stopping);
    this.#isRestLaneFree = true;
    this.grant();
  }

  /** The first one of equally urgent ones. */
  #mostUrgent(isEligible: (urgency: number) => boolean): Waiter | undefined {
    let found: Waiter | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const waiter of this.#waiters) {
      const urgency = waiter.urgency();
      if (urgency >= least || !isEligible(urgency)) continue;
      found = waiter;
      least = urgency;
    }
    return found;
  }
}
