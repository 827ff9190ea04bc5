/** What Redis writes to its disk: the append-only file, and the order of its writes and syncs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Scope, use } from '../use.ts';
import { recordProcess } from './process-records.ts';
import type { TestRedis } from './redis.ts';

/** The path of the file that Redis appends to now. */
export function appendedFile(redis: TestRedis): string {
  const directory = join(redis.directory, 'appendonlydir');
  const manifest = readdirSync(directory).find((name) => name.endsWith('.manifest'))!;
  const files = readFileSync(join(directory, manifest), 'utf8').matchAll(/^file (\S+) .*type i/gm);
  return join(directory, [...files].at(-1)![1]!);
}

export function appendedBytes(redis: TestRedis): number {
  return statSync(appendedFile(redis)).size;
}

/** Cuts the file to its first bytes, as a power cut may. The server must not be running. */
export function cutTo(redis: TestRedis, bytes: number): void {
  truncateSync(appendedFile(redis), bytes);
}

/** Keeps a copy of all files that Redis has written, for `restartFromCopy`. */
export function copyAppendedFiles({ directory }: TestRedis): void {
  cpSync(join(directory, 'appendonlydir'), join(directory, 'copy'), { recursive: true });
}

/** Kills Redis and starts it with the copy, as if nothing written since had reached the disk. */
export async function restartFromCopy(redis: TestRedis): Promise<void> {
  await redis.kill();
  const appended = join(redis.directory, 'appendonlydir');
  rmSync(appended, { recursive: true });
  cpSync(join(redis.directory, 'copy'), appended, { recursive: true });
  await redis.start();
}

interface DiskCall {
  name: string;
  /** Its arguments, with paths instead of file descriptors. */
  text: string;
}

export interface DiskTrace {
  /** Stops tracing and returns the calls in order. */
  end(): Promise<DiskCall[]>;
}

const ATTACH_MS_MAX = 5_000;

/** Traces the writes and syncs of a process's first thread. Undefined where strace is missing or not permitted. */
export function useDiskTrace(scope: Scope, pid: number): Promise<DiskTrace | undefined> {
  return use(
    scope,
    () => traceDisk(pid),
    (trace) => trace?.end(),
  );
}

async function traceDisk(pid: number): Promise<DiskTrace | undefined> {
  const strace = spawn(
    'strace',
    ['-p', String(pid), '-y', '-s', '200', '-e', 'trace=write,writev,fdatasync,fsync'],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH, LC_ALL: 'C' } },
  );
  recordProcess(strace);
  process.once('exit', () => strace.kill('SIGKILL'));
  const ended = once(strace, 'exit').catch(() => undefined); // The error event: strace is not installed.
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
