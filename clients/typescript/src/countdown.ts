/** Counts down to a time of the server, once a second, on the second. */
import type { ServerClock } from './server-clock.ts';
import { sleep } from './waiting.ts';

const SECOND_MS = 1_000;

/**
 * Calls `onTick` at once, at each full second that is left, and with 0 at the end, when it resolves. It follows
 * corrections of the clock. Rejects with the signal's reason when it aborts.
 */
export async function countdown(
  clock: ServerClock,
  until: string | Date,
  onTick: (leftMs: number) => void,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const endMs = until instanceof Date ? until.getTime() : Date.parse(until);
  if (Number.isNaN(endMs)) throw new TypeError('countdown: `until` must be a date');
  for (;;) {
    signal?.throwIfAborted();
    const leftMs = Math.max(0, endMs - clock.now());
    onTick(leftMs);
    if (leftMs === 0) return;
    await sleep(leftMs % SECOND_MS || SECOND_MS, signal);
  }
}
