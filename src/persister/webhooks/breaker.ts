/**
 * The circuit breaker of an endpoint, as a function from what was to what is next:
 *
 *   closed ──`FAILURES_MAX` failures in a row──▶ paused ──its time is over──▶ one delivery tries (the probe)
 *     ▲                                            ▲                              │
 *     │                                            └───────fails: a longer pause──┤
 *     └────────────────────────────────────────────────────────────────succeeds───┘
 */
import { backoffMs } from '../../process/backoff.ts';
import type { WebhookTimings } from './timings.ts';

export const FAILURES_MAX = 5;

export interface Breaker {
  isPaused: boolean;
  failuresInRow: number;
  pausesInRow: number;
}

export interface BreakerStep extends Breaker {
  /** A new pause, from now on; undefined: the old one, if there is one, stays as it is. */
  pauseMs?: number;
}

export const CLOSED: Breaker = { isPaused: false, failuresInRow: 0, pausesInRow: 0 };

/** Of tries that were under way when the pause began, only a success says something new. */
export function afterFailure(
  breaker: BreakerStep,
  isProbe: boolean,
  timings: Pick<WebhookTimings, 'pauseFirstMs' | 'pauseMostMs'>,
): BreakerStep {
  const failed = { ...breaker, failuresInRow: breaker.failuresInRow + 1 };
  const begins = breaker.isPaused ? isProbe : failed.failuresInRow >= FAILURES_MAX;
  if (!begins) return failed;
  const { pauseFirstMs, pauseMostMs } = timings;
  const pauseMs = backoffMs(breaker.pausesInRow, pauseFirstMs, pauseMostMs);
  return { ...failed, isPaused: true, pausesInRow: breaker.pausesInRow + 1, pauseMs };
}
