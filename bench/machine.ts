/** What was measured on, and with what: every result file says so. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '..');

export function machine(note: string) {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    // What follows the numbers names a build, which tells nothing about speed.
    kernel: `${process.platform} ${/^[\d.]+\d/.exec(release())?.[0] ?? release()}`,
    note,
  };
}

export function versions() {
  const changed = output('git', ['status', '--porcelain', '--untracked-files=no']) !== '';
  return {
    date: new Date().toISOString(),
    commit: `${output('git', ['rev-parse', '--short', 'HEAD']) ?? 'unknown'}${changed ? ' with changes' : ''}`,
    node: process.version,
  };
}

function output(command: string, args: string[]): string | undefined {
  try {
    return execFileSync(command, args, {
      cwd: REPOSITORY,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
