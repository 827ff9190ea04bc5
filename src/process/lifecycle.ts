/**
 * The life of a process: start, stay up until somebody asks to stop, close within a deadline. Every subcommand
 * that stays up runs through here, so that signals, a dead supervisor and broken invariants mean the same in all.
 */
import { FAULTS, Fault } from '../domain/fault.ts';

/** Something that was started and can be closed. Closing twice is the same as closing once. */
export interface RunningProcess {
  close(): Promise<void>;
}

const CLOSE_DEADLINE_MS = 10_000;

/** What a child tells its supervisor once `start` has resolved. */
export const STARTED_MESSAGE = 'started';

/**
 * Runs until SIGTERM, SIGINT, SIGHUP, or until the supervisor that spawned this process is gone (its IPC channel
 * closes even when it was killed with SIGKILL), then closes and ends the process: `process.exitCode`, 0 unless
 * somebody has set it, or 1 when something went wrong or closing took longer than the deadline.
 *
 * `start` may watch the signal it is given, to give up early; one that does not is closed as soon as it has started.
 */
export async function runUntilStopped(
  start: (stopping: AbortSignal) => Promise<RunningProcess>,
  options: {
    closeDeadlineMs?: number;
    /** False: what there was to do was done in `start`; close at once. */
    stayUp?: boolean;
  } = {},
): Promise<void> {
  const { stopping, asked } = listenForStop(options.closeDeadlineMs ?? CLOSE_DEADLINE_MS);
  endOnBrokenInvariant();
  try {
    const running = await start(stopping);
    process.send?.(STARTED_MESSAGE);
    if (options.stayUp ?? true) await asked;
    await running.close();
  } catch (error) {
    // Having given up because it was told to is not a failure.
    if (!(stopping.aborted && error instanceof Error && error.name === 'AbortError')) {
      reportFailure(error);
      process.exit(1);
    }
  }
  process.exit();
}

/** Reports what ended a command: one message where a person can help, everything where only a developer can. */
export function reportFailure(error: unknown): void {
  const isFixable = error instanceof Fault && 'isFixable' in FAULTS[error.code];
  console.error(isFixable ? error.message : error);
}

/** Asked to stop any number of times, a process stops once; the deadline counts from the first time. */
function listenForStop(closeDeadlineMs: number): { stopping: AbortSignal; asked: Promise<void> } {
  const controller = new AbortController();
  const asked = new Promise<void>((resolve) => {
    const stop = () => {
      if (controller.signal.aborted) return;
      controller.abort();
      setTimeout(() => {
        console.error(`Closing took longer than ${closeDeadlineMs / 1000} s; ending all the same.`);
        process.exit(1);
      }, closeDeadlineMs).unref();
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    process.on('SIGHUP', stop);
    if (process.connected) process.once('disconnect', stop);
  });
  return { stopping: controller.signal, asked };
}

/** Nobody knows what still holds after one of these: going on could sell what there is not. */
function endOnBrokenInvariant(): void {
  process.on('uncaughtException', (error, origin) => {
    console.error(`${origin}:`, error);
    process.exit(1);
  });
}
