/**
 * The circuit breaker of an endpoint, as a function from one state to the next:
 *
 *   closed ──`FAILURES_MAX` failures in a row──▶ paused ──pause over──▶ one delivery is the probe
 *     ▲                                            ▲                              │
 *     │                                            └───────fails: a longer pause──┤
 *     └────────────────────────────────────────────────────────────────succeeds───┘
 */
import { backoffMs } from '../../process/backoff.ts';
import type { WebhookTimings } from '../timings.ts';

export const FAILURES_MAX = 5;

export interface Breaker {
  isPaused: boolean;
  failuresInRow: number;
  pausesInRow: number;
}

export interface BreakerStep extends Breaker {
  /** The length of a new pause that starts now. Undefined: an existing pause continues. */
  pauseMs?: number;
}

export const CLOSED: Breaker = { isPaused: false, failuresInRow: 0, pausesInRow: 0 };

/** A failure of an attempt that was in flight when the pause began changes nothing; only a success does. */
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
