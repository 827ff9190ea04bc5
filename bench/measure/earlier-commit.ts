/** A clean checkout of an earlier commit, for benches that compare the engine with what it was. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/** Returns a directory in TMPDIR, without packages: its npm scripts install them. Ends the process if there is no such commit. */
export function checkOut(commit: string): string {
  const found = git('-C', ROOT, 'rev-parse', '--verify', '--quiet', `${commit}^{commit}`);
  if (found.status !== 0) {
    console.error(`There is no commit ${commit} here. A shallow clone has only the last.`);
    process.exit(2);
  }
  const directory = mkdtempSync(join(tmpdir(), 'earlier-'));
  const steps = [
    ['clone', '--quiet', '--shared', '--no-checkout', ROOT, directory],
    ['-C', directory, 'checkout', '--quiet', '--detach', found.stdout.trim()],
  ];
  for (const step of steps) {
    const { status, stderr } = git(...step);
    if (status !== 0) throw new Error(`git ${step.join(' ')} failed: ${stderr.trim()}`);
  }
  return directory;
}

function git(...args: string[]) {
  return spawnSync('git', args, { encoding: 'utf8' });
}
