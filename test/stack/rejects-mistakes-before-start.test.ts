/**
 * An invalid environment, a taken port or an occupied home is one message that says what to do, and nothing is started.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type StackHome, useStackHome } from '../../harness/engine/stack-process.ts';
import { use } from '../../harness/use.ts';

async function refusal(home: StackHome, env: Record<string, string>): Promise<string> {
  const stack = home.start({ env });
  assert.equal(await stack.ended(), 1, stack.stderr);
  assert.equal(stack.stdout, '');
  assert.doesNotMatch(stack.stderr, /^\s+at /m, 'no stack trace');
  return stack.stderr;
}

void test('all mistakes in the environment of all processes are one message', async (t) => {
  const home = await useStackHome(t);
  const message = await refusal(home, {
    LOG_LEVEL: 'loud',
    HOT_PATH_PORT: '99999',
    ADMIN_PORT: 'eighty',
    PERSISTER_PORT: '-1',
    DURABILITY: 'eternal',
    JWT_SECRET: 'short',
    ADMIN_TOKENS: 'emperor:0123456789abcdef',
  });
  for (const variable of [
    'LOG_LEVEL',
    'HOT_PATH_PORT',
    'ADMIN_PORT',
    'PERSISTER_PORT',
    'DURABILITY',
    'JWT_SECRET',
    'ADMIN_TOKENS',
  ]) {
    assert.equal(message.split(`  ${variable}: `).length, 2, `${variable} once in:\n${message}`);
  }
  assert.deepEqual(readdirSync(join(home.directory, 'redis')), [], 'no server was set up');
  assert.equal(existsSync(join(home.directory, 'lock')), false, 'the home is free again');
});

void test('a taken port is reported with the variable that chooses another', async (t) => {
  const occupant = await use(t, () => createServer().listen(0, '127.0.0.1'));
  await once(occupant, 'listening');
  const { port } = occupant.address() as { port: number };
  for (const variable of ['HOT_PATH_PORT', 'ADMIN_PORT', 'PERSISTER_PORT']) {
    const message = await refusal(await useStackHome(t), { [variable]: String(port) });
    assert.match(message, new RegExp(`127\\.0\\.0\\.1:${port} is taken`));
    assert.match(message, new RegExp(`${variable}=\\d+ npm start`));
  }
});

void test('one stack runs in a home, which keeps its secrets, and the lock of a dead process does not count', async (t) => {
  const home = await useStackHome(t);
  // The pid of the lock belongs to another process now.
  const stale = JSON.stringify({ pid: process.pid, identity: 'an earlier one' });
  writeFileSync(join(home.directory, 'lock'), stale);
  const stack = home.start();
  const { pids } = await stack.ready();
  for (const file of ['stack.json', 'secrets.json', join('redis', 'redis.conf')]) {
    assert.equal(statSync(join(stack.home, file)).mode & 0o077, 0, `only the owner reads ${file}`);
  }
  const message = await refusal(home, {});
  assert.match(message, new RegExp(`process ${stack.pid}\\b`));
  assert.deepEqual(stack.describe().pids, pids, 'the running stack is untouched');
});
