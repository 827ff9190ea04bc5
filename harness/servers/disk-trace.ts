/** What a server writes and syncs, and in which order, as the kernel sees it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

export interface DiskCall {
  name: string;
  /** Its arguments, files by their paths. */
  text: string;
}

export interface DiskTrace {
  /** The calls so far, in order. */
  end(): Promise<DiskCall[]>;
}

const ATTACH_MS_MAX = 5_000;

/** Of a process' first thread. Undefined where there is no strace, or it is not let. */
export async function traceDisk(pid: number): Promise<DiskTrace | undefined> {
  const strace = spawn(
    'strace',
    ['-p', String(pid), '-y', '-s', '200', '-e', 'trace=write,writev,fdatasync,fsync'],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH, LC_ALL: 'C' } },
  );
  process.once('exit', () => strace.kill('SIGKILL'));
  const ended = once(strace, 'exit').catch(() => undefined); // The error: it is not on this machine.
  let output = '';
  const attached = new Promise<true>((resolve) => {
    strace.stderr.on('data', (chunk) => {
      output += String(chunk);
      if (/attached$/m.test(output)) resolve(true);
    });
  });
  const isTracing = await Promise.race([
    attached,
    ended,
    sleep(ATTACH_MS_MAX, undefined, { ref: false }),
  ]);
  if (isTracing !== true) {
    strace.kill('SIGKILL');
    return undefined;
  }
  return {
    end: async () => {
      strace.kill('SIGINT');
      await ended;
      return output
        .split('\n')
        .map((line) => /^(\w+)\((.*)$/.exec(line))
        .flatMap((match) => (match ? [{ name: match[1]!, text: match[2]! }] : []));
    },
  };
}
