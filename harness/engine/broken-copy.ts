/** A copy of the engine with one deliberate mistake. The engine itself has no switch for it. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Mistake {
  /** Relative to `src/`. */
  file: string;
  /** Occurs in the file exactly once. */
  original: string;
  broken: string;
}

export interface BrokenCopy {
  mainModule: string;
  remove(): void;
}

const REPOSITORY = join(import.meta.dirname, '../..');

/** Throws when the text does not occur exactly once; then the mistake must be rewritten. */
export function makeBrokenCopy({ file, original, broken }: Mistake): BrokenCopy {
  const text = readFileSync(join(REPOSITORY, 'src', file), 'utf8');
  const count = text.split(original).length - 1;
  if (count !== 1)
    throw new Error(`src/${file} contains this text ${count} times instead of once:\n${original}`);
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-broken-'));
  cpSync(join(REPOSITORY, 'src'), join(directory, 'src'), { recursive: true });
  for (const name of ['package.json', 'node_modules', 'migrations']) {
    symlinkSync(join(REPOSITORY, name), join(directory, name));
  }
  writeFileSync(
    join(directory, 'src', file),
    text.replace(original, () => broken),
  );
  return {
    mainModule: join(directory, 'src', 'main.ts'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
