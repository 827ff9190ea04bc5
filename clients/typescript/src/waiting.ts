/** Waits between attempts: backoff with jitter, what a server asks for, and a sleep that a signal ends. */

const BACKOFF_FIRST_MS = 200;
const BACKOFF_MAX_MS = 5_000;

/** Half of it is random, so that clients that failed together do not return together. `attempt` counts from 1. */
function backoffMs(attempt: number): number {
  const bound = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return bound * (0.5 + Math.random() / 2);
}

/** The wait before the next attempt. Jitter is on top of what the server asks for, never below it. */
export function waitMsBefore(attempt: number, retryAfterMs: number): number {
  return retryAfterMs + backoffMs(attempt);
}

/** The header Retry-After in either of its forms, seconds or a date; 0: absent or malformed. */
export function retryAfterMsOf(header: string | null): number {
  if (header === null) return 0;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1_000;
  return Math.max(0, ms || 0);
}

/** Rejects with the signal's reason when it aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
