/**
 * Where a command of the suite works: everything temporary is in a directory that goes with the process however it
 * ends, and the logs of what failed in one that stays.
 */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Workplace {
  /** Asked to stop once, no further run begins; asked twice, the process ends at once. */
  stopping: AbortSignal;
  /** Of one run, by its name. */
  logsOf: (run: string) => string;
  /** The run was as it should be, so nobody will read its logs. */
  forgetLogsOf: (run: string) => void;
}

export function openWorkplace(): Workplace {
  const logs = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-logs-'));
  const temporary = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-'));
  // PostgreSQL's own user has to get in.
  chmodSync(temporary, 0o755);
  process.env.TMPDIR = temporary;
  // Servers that still run are killed at `exit`, too, and before this, for their module listens longer.
  process.once('exit', () => {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 10 });
    if (readdirSync(logs).length === 0) rmSync(logs, { recursive: true });
  });
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) process.exit(130);
      stopping.abort();
    });
  }
  const logsOf = (run: string) => join(logs, run);
  return {
    stopping: stopping.signal,
    logsOf,
    forgetLogsOf: (run) => rmSync(logsOf(run), { recursive: true, force: true }),
  };
}
