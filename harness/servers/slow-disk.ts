/** A disk that is slow for one process: strace delays each of its syncs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { recordProcess } from './process-records.ts';

export interface SlowDisk {
  /** So far. */
  readonly delayedSyncs: number;
  end(): Promise<void>;
}

const ATTACH_MS_MAX = 5_000;

/** Delays each sync of the process. Undefined where strace is missing or not permitted. */
export async function slowDown(pid: number, delayMs: number): Promise<SlowDisk | undefined> {
  const delay = `inject=fdatasync,fsync:delay_enter=${delayMs * 1_000}`;
  const strace = spawn(
    'strace',
    ['-f', '-p', String(pid), '-e', 'trace=fdatasync,fsync', '-e', delay],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
    },
  );
  recordProcess(strace);
  // It lets the process go on before it ends.
  const detach = () => void strace.kill('SIGINT');
  process.once('exit', detach);
  const ended = once(strace, 'exit').catch(() => undefined); // The error event: strace is not installed.
  let delayedSyncs = 0;
  const attached = new Promise<true>((resolve) => {
    createInterface(strace.stderr).on('line', (line) => {
      if (line.includes(' attached')) resolve(true);
      if (line.endsWith('(DELAYED)')) delayedSyncs += 1;
    });
  });
  const isSlow = await Promise.race([
    attached,
    ended,
    sleep(ATTACH_MS_MAX, undefined, { ref: false }),
  ]);
  const end = async () => {
    detach();
    await ended;
    process.off('exit', detach);
  };
  if (isSlow !== true) {
    await end();
    return undefined;
  }
  return {
    get delayedSyncs() {
      return delayedSyncs;
    },
    end,
  };
}
