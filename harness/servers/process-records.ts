/**
 * Records of the processes that a test started. The test runner ends those that a test left behind: one that was killed
 * could not stop them, and a frozen process does not stop by itself.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processIdentity } from '../../src/process/supervisor/process-identity.mjs';

/** Names the directory of the records. */
export const RECORDS_VARIABLE = 'TEST_SERVER_RECORDS';

/** Undefined: the process did not start. A record of a process that has ended has no effect. */
export function recordProcess({ pid }: { pid?: number | undefined }): void {
  const directory = process.env[RECORDS_VARIABLE];
  const identity = directory && pid !== undefined ? processIdentity(pid) : undefined;
  if (identity !== undefined) writeFileSync(join(directory!, String(pid)), identity);
}

/**
 * Kills the recorded processes, each only if its pid still belongs to it, with the children that they started. Returns
 * the number of recorded processes that still ran.
 */
export function killRecordedProcesses(directory: string): number {
  let count = 0;
  for (const name of readdirSync(directory)) {
    const pid = Number(name);
    if (processIdentity(pid) !== readFileSync(join(directory, name), 'utf8')) continue;
    // A frozen process starts no further children.
    signalIfRunning(pid, 'SIGSTOP');
    for (const child of childrenOf(pid)) signalIfRunning(child, 'SIGKILL');
    signalIfRunning(pid, 'SIGKILL');
    count += 1;
  }
  return count;
}

export function childrenOf(pid: number): number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
  return table
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number) as [child: number, parent: number])
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child);
}

/** It may have ended since it was found. */
export function signalIfRunning(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
