/**
 * Installs command-line tools from PyPI, each set in a virtual environment of its own under `.flash-sale/tools/`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const TOOLS = join(import.meta.dirname, '../../.flash-sale/tools');

/**
 * Installs what is missing. `requirements` are pinned, such as `schemathesis==4.32.5`. Ends the process with code 2
 * where the tools cannot be installed.
 *
 * @returns the directory that holds the tools' commands
 */
export function installPythonTools(name: string, requirements: readonly string[]): string {
  const environment = join(TOOLS, [name, ...requirements].join('-').replaceAll('==', '-'));
  const commands = join(environment, 'bin');
  // Written last, so that an interrupted installation is repeated.
  const stamp = join(environment, 'installed');
  if (existsSync(stamp)) return commands;
  console.error(`installing ${requirements.join(' and ')} into ${environment}`);
  const isInstalled =
    run('python3', ['-m', 'venv', '--clear', environment]) &&
    run(join(commands, 'pip'), [
      'install',
      '--quiet',
      '--disable-pip-version-check',
      ...requirements,
    ]);
  if (isInstalled) {
    writeFileSync(stamp, '');
    return commands;
  }
  console.error(
    [
      `${requirements.join(' and ')} could not be installed. This needs Python 3.10 or newer with venv and pip:`,
      '  sudo apt-get install python3 python3-venv     on Debian or Ubuntu',
      '  brew install python                           with Homebrew',
      'and a package index that pip can reach.',
    ].join('\n'),
  );
  return process.exit(2);
}

function run(tool: string, args: string[]): boolean {
  return spawnSync(tool, args, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}
