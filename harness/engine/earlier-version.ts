/**
 * The engine of an earlier commit, to run its processes beside those of this one. It uses the packages that are installed
 * here, so it needs no network, and the commit must have the same ones.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Scope, use } from '../use.ts';

const ROOT = join(import.meta.dirname, '../..');
/** What a process of the engine loads. */
const PARTS = ['src', 'migrations', 'package.json'];

export interface EarlierVersion {
  /** Its `src/main.ts`. */
  mainModule: string;
}

/** Undefined: this copy of the repository does not have the commit, as a shallow clone or an archive. */
export async function useEarlierVersion(
  scope: Scope,
  commit: string,
): Promise<EarlierVersion | undefined> {
  const found = git('rev-parse', '--verify', '--quiet', `${commit}^{commit}`);
  if (found.status !== 0) return undefined;
  const directory = await use(
    scope,
    () => unpack(commit),
    (unpacked) => rmSync(unpacked, { recursive: true, force: true }),
  );
  return { mainModule: join(directory, 'src/main.ts') };
}

function unpack(commit: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'earlier-version-'));
  const archive = join(directory, 'commit.tar');
  const archived = git('archive', '--format=tar', `--output=${archive}`, commit, ...PARTS);
  if (archived.status !== 0) throw new Error(`git archive failed: ${archived.stderr}`);
  const unpacked = spawnSync('tar', ['-xf', archive, '-C', directory], { encoding: 'utf8' });
  if (unpacked.status !== 0) throw new Error(`tar failed: ${unpacked.stderr}`);
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'), 'dir');
  return directory;
}

function git(...args: string[]) {
  return spawnSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' });
}
