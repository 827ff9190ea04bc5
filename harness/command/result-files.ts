/** Writes the result of a run. Only `--write` replaces the committed one. */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Read before a command session sets TMPDIR to a directory that is removed at exit. */
const TEMPORARY = tmpdir();

export const WRITE_OPTION = ['--write', 'keep the result in the repository'] as const;

/** `kept` with `--write`, else a new temporary directory that stays. */
export function resultDirectory(kept: string, choices: { write?: boolean }): string {
  if (!choices.write) return mkdtempSync(join(TEMPORARY, 'flash-sale-result-'));
  mkdirSync(kept, { recursive: true });
  return kept;
}

/** In bench/results or, without `--write`, in a temporary directory. Prints the path, and returns the directory. */
export async function keepBenchResult(
  name: string,
  result: object,
  choices: { write?: boolean },
): Promise<string> {
  const directory = resultDirectory(join(import.meta.dirname, '../../bench/results'), choices);
  await keepResult(directory, name, result);
  return directory;
}

export async function keepResult(directory: string, name: string, result: object): Promise<void> {
  const path = join(directory, `${name}.json`);
  await writeFile(path, `${readableJson(result)}\n`);
  console.log(`The result is in ${path}`);
}

/** Short lists and objects take one line, so that diffs are readable. */
export function readableJson(value: object): string {
  const text = JSON.stringify(value, null, 1);
  return text.replaceAll(/\[[\s\d.,e+-]+\]|\{[^{}[\]]{0,400}\}/g, (each) =>
    each.replaceAll(/\s+/g, ' '),
  );
}
