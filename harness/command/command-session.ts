/**
 * Where a command works that starts servers of its own. Ctrl-C or SIGTERM ends it at once and in order: it tells what
 * had been done by then, ends what it has started, the last first, and exits with 128 and the signal's number.
 * Everything temporary is in one directory that goes with the process, however that ends.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { shieldServersFromTerminal } from '../servers/server-process.ts';

export interface CommandSession {
  /** Aborted by the first signal. */
  stopping: AbortSignal;
  /** What to do at the end, whichever that is; the last is done first. */
  after: (cleanUp: () => unknown) => void;
  /** Prints the present step. */
  step: (line: string) => void;
  /** Does what was left for the end. */
  close: () => Promise<void>;
}

/** npm and set-up forward a signal that the terminal has sent already. A later one means that the user is impatient. */
const SAME_SIGNAL_MS = 1_000;
/** What servers may take to stop, and a little more. */
const CLOSE_MS_MAX = 15_000;

/** `reportProgress` is called when a signal ends the work. */
export function openCommandSession(choices: { reportProgress?: () => void } = {}): CommandSession {
  const temporary = mkdtempSync(join(tmpdir(), 'flash-sale-'));
  // PostgreSQL's own user has to get in.
  chmodSync(temporary, 0o755);
  process.env.TMPDIR = temporary;
  // Servers that still run are killed at `exit`, too, and before this, for their module listens longer.
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
    // The work goes on for as long as this takes, on servers that go away: whatever becomes of it is no news.
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
