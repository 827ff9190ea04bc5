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
  const ended = Promise.race([
    once(strace, 'exit'),
    once(strace, 'error'), // It is not on this machine.
  ]).catch(() => undefined);
  let output = '';
  let isAttached = false;
  strace.stderr.on('data', (chunk) => {
    output += String(chunk);
    isAttached ||= /attached$/m.test(output);
  });
  const isOver = await Promise.race([ended.then(() => true), untilAttached()]);
  if (isOver) {
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

  /** True: it was given up. */
  async function untilAttached(): Promise<boolean> {
    const deadlineMs = performance.now() + ATTACH_MS_MAX;
    while (!isAttached && performance.now() < deadlineMs) await sleep(10);
    return !isAttached;
  }
}
