/** A command of the engine as an operator types it, `node src/main.ts …`, such as `migrate`. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sharedCode } from './shared-code.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const END_MS_MAX = 60_000;

const execute = promisify(execFile);

/** Resolves with what it printed on standard output; rejects if its exit code is not 0. `environment` is its whole environment except for the path and the shared code. */
export async function runEngineCommand(
  args: readonly string[],
  environment: Record<string, string>,
  mainModule = MAIN,
): Promise<string> {
  const { stdout } = await execute(process.execPath, [mainModule, ...args], {
    env: { PATH: process.env.PATH, ...sharedCode(), ...environment },
    timeout: END_MS_MAX,
  });
  return stdout;
}
