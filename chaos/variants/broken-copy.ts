/** A copy of the engine with one mistake in it, which runs as the engine does. The engine itself knows nothing of it. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Mistake {
  /** Below `src/`. */
  file: string;
  /** Stands in the file exactly once. */
  original: string;
  broken: string;
}

export interface BrokenCopy {
  mainModule: string;
  remove(): void;
}

const REPOSITORY = join(import.meta.dirname, '../..');

/** Throws when the text that is to be broken is not there exactly once: then the mistake has to be thought up anew. */
export function makeBrokenCopy({ file, original, broken }: Mistake): BrokenCopy {
  const text = readFileSync(join(REPOSITORY, 'src', file), 'utf8');
  const count = text.split(original).length - 1;
  if (count !== 1) throw new Error(`src/${file} has this ${count} times, not once:\n${original}`);
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
