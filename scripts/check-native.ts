/**
 * Checks that the native library which this Node loads is one of scripts/native-libraries.sha256:
 *
 *   npm run check:native
 *   npm run check:native -- --upstream <clone>
 *
 * The second form looks for each recorded library in the history of upstream's repository. A clone without files is
 * enough; docs/NODE.md has the commands.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../harness/command/command-line.ts';
import { gitBlobId, libraryName, mistakeOf, parseLibraries } from './release/native-libraries.ts';

const ROOT = join(import.meta.dirname, '..');
const LIST = 'scripts/native-libraries.sha256';
const LIBRARIES = join(ROOT, 'node_modules/uWebSockets.js/dist/bin');

const { upstream } = command(
  'check:native',
  'Check the checksum of the native library that this Node loads.',
)
  .option('--upstream <clone>', "look for the recorded libraries in upstream's history")
  .parse()
  .opts<{ upstream?: string }>();

const recorded = parseLibraries(readFileSync(join(ROOT, LIST), 'utf8'));
const mistakes = upstream === undefined ? installedMistakes() : upstreamMistakes(upstream);
for (const mistake of mistakes) console.error(mistake);
if (mistakes.length > 0) {
  console.error(`${LIST} and docs/NODE.md say what is expected.`);
  process.exitCode = 1;
}

function installedMistakes(): string[] {
  const name = libraryName({
    platform: process.platform,
    arch: process.arch,
    abi: process.versions.modules,
  });
  const path = join(LIBRARIES, name);
  if (!existsSync(path)) return [`uWebSockets.js has no ${name}`];
  return [mistakeOf(name, readFileSync(path), recorded) ?? []].flat();
}

function upstreamMistakes(clone: string): string[] {
  return [...recorded.keys()].flatMap((name) => {
    const content = readFileSync(join(LIBRARIES, name));
    const mistake = mistakeOf(name, content, recorded);
    if (mistake !== undefined) return mistake;
    const id = gitBlobId(content);
    const options = ['--all', '--reverse', '--no-renames', '--format=%h of %as: %s'];
    const { stdout } = spawnSync('git', ['-C', clone, 'log', ...options, `--find-object=${id}`], {
      encoding: 'utf8',
    });
    const [found] = stdout.split('\n');
    if (!found) return `${name} (${id}) is in no commit of ${clone}`;
    console.log(`${name} is in upstream's commit ${found}`);
    return [];
  });
}
