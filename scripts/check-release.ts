/**
 * Fails unless everything that names a version agrees with the tag of a release:
 *
 *   npm run check:release -- v1.0.0
 *   npm run check:release -- v1.0.0 --notes dist/notes.md     also writes the changelog's part about it
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { command } from '../harness/command/command-line.ts';
import { readReleaseFacts, releaseMistakes, releaseNotes } from './release/versions.ts';

const program = command(
  'check:release',
  'Check that every version agrees with the tag of a release.',
)
  .argument('<tag>', 'such as v1.0.0')
  .option('--notes <file>', "write the changelog's part about this version")
  .parse();
const [tag] = program.args as [string];
const { notes } = program.opts<{ notes?: string }>();

const facts = await readReleaseFacts(join(import.meta.dirname, '..'));
const mistakes = releaseMistakes(tag, facts);
for (const mistake of mistakes) console.error(mistake);
if (mistakes.length > 0) {
  console.error(`${tag} cannot be released. CONTRIBUTING.md says how a release is made.`);
  process.exitCode = 1;
} else if (notes !== undefined) {
  mkdirSync(dirname(notes), { recursive: true });
  writeFileSync(notes, `${releaseNotes(facts.changelog, tag.slice(1))}\n`);
}
