/**
 * The session of a command that starts servers of its own. Ctrl-C or SIGTERM ends it immediately and gracefully: it
 * reports the progress, stops in reverse order what it started, and exits with 128 plus the signal's number. All
 * temporary files are in one directory, which is removed when the process exits.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { shieldServersFromTerminal } from '../servers/server-process.ts';

export interface CommandSession {
  /** Aborted by the first signal. */
  stopping: AbortSignal;
  /** Registers a clean-up for the end of the session, also after a signal. Clean-ups run in reverse order. */
  after: (cleanUp: () => unknown) => void;
  /** Prints the current step. */
  step: (line: string) => void;
  /** Runs the clean-ups, once. */
  close: () => Promise<void>;
}

/** npm and set-up forward a signal that the terminal has already sent. A later signal ends the process immediately. */
const SAME_SIGNAL_MS = 1_000;
/** Longer than a server may take to stop. */
const CLOSE_MS_MAX = 15_000;

/** `reportProgress` is called when a signal ends the work. */
export function openCommandSession(choices: { reportProgress?: () => void } = {}): CommandSession {
  const temporary = mkdtempSync(join(tmpdir(), 'flash-sale-'));
  // PostgreSQL's user must be able to enter it.
  chmodSync(temporary, 0o755);
  process.env.TMPDIR = temporary;
  // Servers that still run are killed before this: their module registered its `exit` listener earlier.
  process.once('exit', () => {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 10 });
  });
  shieldServersFromTerminal();

  const startedAtMs = performance.now();
  const cleanUps: (() => unknown)[] = [];
  const stopping = new AbortController();
  const steps: string[] = [];
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= (async () => {
      for (const cleanUp of cleanUps.toReversed()) await cleanUp();
    })();
    return closed;
  };
  const stop = async (signal: NodeJS.Signals) => {
    // The work continues while its servers stop, so its errors are expected and ignored.
    for (const event of ['uncaughtException', 'rejectionHandled'])
      process.on(event, () => undefined);
    setTimeout(() => process.exit(exitCodeOf(signal)), CLOSE_MS_MAX);
    stopping.abort();
    const seconds = Math.round((performance.now() - startedAtMs) / 1_000);
    const during = steps.length === 0 ? '' : ` during step ${steps.length}: ${steps.at(-1)}`;
    console.log(`\nStopped by ${signal} after ${seconds} s${during}`);
    choices.reportProgress?.();
    console.log('No result was written.');
    await close().catch(console.error);
    process.exit(exitCodeOf(signal));
  };
  let signalledAtMs: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (signalledAtMs === undefined) {
        signalledAtMs = performance.now();
        void stop(signal);
      } else if (performance.now() - signalledAtMs > SAME_SIGNAL_MS) {
        process.exit(exitCodeOf(signal));
      }
    });
  }
  return {
    stopping: stopping.signal,
    after: (cleanUp) => void cleanUps.push(cleanUp),
    step: (line) => {
      steps.push(line);
      console.log(line);
    },
    close,
  };
}

function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
