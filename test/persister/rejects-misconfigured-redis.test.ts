/** The persister refuses a Redis that may lose what it decided, and reports which setting to change. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { recordProcess } from '../../harness/servers/process-records.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { use } from '../../harness/use.ts';

const MAIN = new URL('../../src/persister/main.ts', import.meta.url).href;

describe('a Redis without persistence', () => {
  it('makes the persister exit with 1 and report the setting', async (test) => {
    const redis = await useRedis(test, { args: ['--appendonly', 'no'] });
    const program = `const { runPersister } = await import(${JSON.stringify(MAIN)}); await runPersister();`;
    const environment = {
      PATH: process.env.PATH,
      REDIS_URL: redis.url,
      DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
      PERSISTER_PORT: '0',
    };
    const child = await use(
      test,
      () =>
        spawn(process.execPath, ['--input-type=module', '--eval', program], {
          env: environment,
          stdio: ['ignore', 'pipe', 'inherit'],
        }),
      (started) => started.kill('SIGKILL'),
    );
    recordProcess(child);
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
    });
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 1);
    assert.match(output, /set appendonly yes/);
  });
});
