/** The processes' logs of each run: what failed leaves them, in a directory that stays. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RunLogs {
  /** Of one run, by its name. */
  logsOf: (run: string) => string;
  /** The run was as it should be, so nobody will read its logs. */
  forgetLogsOf: (run: string) => void;
}

/** Before the command session is opened, whose temporary directory does not stay. */
export function openRunLogs(): RunLogs {
  const logs = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-logs-'));
  process.once('exit', () => {
    if (readdirSync(logs).length === 0) rmSync(logs, { recursive: true });
  });
  const logsOf = (run: string) => join(logs, run);
  return {
    logsOf,
    forgetLogsOf: (run) => rmSync(logsOf(run), { recursive: true, force: true }),
  };
}
