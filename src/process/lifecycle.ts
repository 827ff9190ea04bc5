/**
 * Starts a process, keeps it up until a request to stop, then closes it within a deadline. Every subcommand that stays
 * up uses this, so that signals, the end of a supervisor and broken invariants have the same effect in all of them.
 */
import { Fault, type FaultCode } from '../domain/fault.ts';

/** A second call of `close` waits for the same end. */
export interface RunningProcess {
  close(): Promise<void>;
}

const CLOSE_DEADLINE_MS = 10_000;

/** Faults that an operator can correct: their message is enough, without a stack. */
const OPERATOR_FAULTS: readonly FaultCode[] = ['config_invalid', 'port_taken', 'server_unfit'];

/** Sent by a child to its supervisor when `start` has resolved. */
export const STARTED_MESSAGE = 'started';

/**
 * Runs until SIGTERM, SIGINT or SIGHUP, or until the supervisor of this process is gone: its IPC channel closes even
 * after SIGKILL. Then closes and ends the process with `process.exitCode`, by default 0. A failure, or a close that
 * takes longer than the deadline, ends it with 1.
 *
 * `start` may observe its signal to end early. Otherwise the process is closed as soon as it has started.
 */
export async function runUntilStopped(
  start: (stopping: AbortSignal) => Promise<RunningProcess>,
  options: {
    closeDeadlineMs?: number;
    /** False: `start` did all the work, so close immediately. */
    stayUp?: boolean;
  } = {},
): Promise<void> {
  const { stopping, stopRequested } = listenForStop(options.closeDeadlineMs ?? CLOSE_DEADLINE_MS);
  exitOnBrokenInvariant();
  try {
    const running = await start(stopping);
    process.send?.(STARTED_MESSAGE);
    if (options.stayUp ?? true) await stopRequested;
    await running.close();
  } catch (error) {
    // The end of `start` because of a stop is not a failure.
    if (!(stopping.aborted && error instanceof Error && error.name === 'AbortError')) {
      reportFailure(error);
      process.exit(1);
    }
  }
  process.exit();
}

/** Makes a second call wait for the first one's result. */
export function closeOnce(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => {
    closed ??= close();
    return closed;
  };
}

/** Prints what ended a command: a message for an operator, or the whole error for a developer. */
export function reportFailure(error: unknown): void {
  const isForOperators = error instanceof Fault && OPERATOR_FAULTS.includes(error.code);
  console.error(isForOperators ? error.message : error);
}

/** The deadline counts from the first request to stop; later requests change nothing. */
function listenForStop(closeDeadlineMs: number): {
  stopping: AbortSignal;
  stopRequested: Promise<void>;
} {
  const controller = new AbortController();
  const stopRequested = new Promise<void>((resolve) => {
    const stop = () => {
      if (controller.signal.aborted) return;
      controller.abort();
      setTimeout(() => {
        console.error(
          `Closing took longer than ${closeDeadlineMs / 1000} s; the process ends now.`,
        );
        process.exit(1);
      }, closeDeadlineMs).unref();
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    process.on('SIGHUP', stop);
    if (process.connected) process.once('disconnect', stop);
  });
  return { stopping: controller.signal, stopRequested };
}

/** After an uncaught exception no invariant is certain; continuing could oversell. */
function exitOnBrokenInvariant(): void {
  process.on('uncaughtException', (error, origin) => {
    console.error(`${origin}:`, error);
    process.exit(1);
  });
}
