/**
 * How long to wait before trying again, and waiting itself. Waits end early when the process is asked to stop, so
 * that no wait ever delays a shutdown.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Doubles from `firstMs` up to `mostMs`. The upper half is drawn at random, so that processes which lost the same
 * server at the same moment do not all come back at the same moment.
 */
export function backoffMs(attempt: number, firstMs: number, mostMs: number): number {
  const ceiling = Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

/** Resolves after so many milliseconds, or at once when the signal is or becomes aborted. Never rejects. */
export async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(delayMs, undefined, { signal });
  } catch {
    // Only the abort rejects, and being woken early is what it is for.
  }
}
