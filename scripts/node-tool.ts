/** Installs packages from npm that only one check needs, each set in a directory of its own under `.flash-sale/tools/`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const TOOLS = join(import.meta.dirname, '../.flash-sale/tools');

/**
 * Installs what is missing. `packages` are pinned, such as `left-pad@1.3.0`. Ends the process with code 2 where they cannot
 * be installed.
 *
 * @returns the directory whose `node_modules` has them
 */
export function installNodePackages(name: string, packages: readonly string[]): string {
  const directory = join(TOOLS, name);
  // Written last, so that an interrupted installation is repeated.
  const stamp = join(directory, `installed-${packages.join('-').replaceAll('/', '-')}`);
  if (existsSync(stamp)) return directory;
  console.error(`installing ${packages.join(' and ')} into ${directory}`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }\n');
  const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
  const { status } = spawnSync('npm', [...args, ...packages], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) {
    writeFileSync(stamp, '');
    return directory;
  }
  console.error(
    `${packages.join(' and ')} could not be installed. This needs a registry that npm can reach.`,
  );
  return process.exit(2);
}
