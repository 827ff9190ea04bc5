/** Bounded polling: waits for a condition that becomes true by itself. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Only a failing test waits until it is over. */
const TIMEOUT_MS = 30_000;
const POLL_MS = 20;

/** Repeats the assertion until it passes. When the time is over, it throws the assertion's last error. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  options: { timeoutMs?: number; pollMs?: number } = {},
): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? TIMEOUT_MS);
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
    }
    await sleep(options.pollMs ?? POLL_MS);
  }
}
