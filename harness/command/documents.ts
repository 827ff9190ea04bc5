/** Puts what a run has found into the documents. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '../..');

/** Replaces the text between `<!-- name -->` and `<!-- /name -->`. Throws without them. */
export async function putBetweenMarkers(
  document: string,
  name: string,
  text: string,
): Promise<void> {
  const path = join(REPOSITORY, document);
  const before = await readFile(path, 'utf8');
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [before.indexOf(open), before.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`${document} has no ${open} before ${close}`);
  await writeFile(path, `${before.slice(0, from + open.length)}\n\n${text}\n\n${before.slice(to)}`);
}
