/** Waiting for what comes true by itself, with an end to the waiting. */

const TIMEOUT_MS = 10_000;
const POLL_MS = 20;

/** Repeats the assertion until it no longer throws; at the end of its time it throws what the assertion threw last. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  options: { timeoutMs?: number } = {},
): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? TIMEOUT_MS);
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
