/** Backoff with jitter, and pauses that a signal ends, so that no pause delays a shutdown. */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Doubles from `firstMs` to `mostMs`, counting attempts from 0. The upper half is random, so that processes that lost a
 * server together do not return together.
 */
export function backoffMs(attempt: number, firstMs: number, mostMs: number): number {
  const ceiling = Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

/** Resolves after the delay, or immediately when the signal is or becomes aborted. Never rejects. */
export async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(delayMs, undefined, { signal });
  } catch {
    // Only the abort rejects, and it is meant to end the pause.
  }
}
