/** A Redis that may forget what it sold is refused before anything is persisted from it, with what to set. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { useRedis } from '../../harness/servers/redis.ts';

const MAIN = new URL('../../src/persister/main.ts', import.meta.url).href;

describe('a redis without persistence', () => {
  it('ends the persister with 1 and says what to set', async (test) => {
    const redis = await useRedis(test, { args: ['--appendonly', 'no'] });
    const program = `const { runPersister } = await import(${JSON.stringify(MAIN)}); await runPersister();`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      env: {
        PATH: process.env.PATH,
        REDIS_URL: redis.url,
        DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
        PERSISTER_PORT: '0',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    test.after(() => child.kill('SIGKILL'));
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
    });
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 1);
    assert.match(output, /set appendonly yes/);
  });
});
