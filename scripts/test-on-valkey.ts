/**
 * The tests on Valkey instead of Redis: `npm run test:valkey -- [arguments of npm test]`. They start whichever
 * `redis-server` is the first on the PATH, so a link with that name leads to Valkey.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { valkeyCommand } from '../harness/servers/valkey.ts';

const directory = mkdtempSync(join(tmpdir(), 'flash-sale-valkey-'));
symlinkSync(valkeyCommand(), join(directory, 'redis-server'));
const child = spawn(process.execPath, ['test/run.ts', ...process.argv.slice(2)], {
  cwd: join(import.meta.dirname, '..'),
  env: { ...process.env, PATH: [directory, process.env.PATH].join(delimiter) },
  // The channel closes when this process is killed, which stops the tests.
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => child.kill(signal));
child.on('exit', (code) => {
  rmSync(directory, { recursive: true });
  process.exit(code ?? 1);
});
