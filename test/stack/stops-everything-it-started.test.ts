/** However the stack is stopped, and however often, it exits with 0 and leaves nothing running. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  allPids,
  isAlive,
  type StackProcess,
  until,
  useStackHome,
} from '../../harness/engine/stack-process.ts';

const SET_UP = fileURLToPath(new URL('../../scripts/set-up.mjs', import.meta.url));

async function assertLeavesNothing(
  t: TestContext,
  stopIt: (stack: StackProcess) => void,
  options: { command?: string[] } = {},
): Promise<StackProcess> {
  const stack = (await useStackHome(t)).start(options);
  const pids = allPids(await stack.ready());
  assert.equal(pids.length, 5);
  assert.deepEqual(pids.filter(isAlive), pids, 'all run before');
  stopIt(stack);
  assert.equal(await stack.ended(), 0, stack.stderr);
  assert.deepEqual(pids.filter(isAlive), [], 'none runs after');
  assert.equal(existsSync(join(stack.home, 'stack.json')), false, 'stack.json is gone');
  return stack;
}

void test('several signals, repeated, stop everything', async (t) => {
  await assertLeavesNothing(t, (stack) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) stack.child.kill(signal);
    setTimeout(() => stack.child.kill('SIGINT'), 20);
    setTimeout(() => stack.child.kill('SIGTERM'), 40);
  });
});

void test('SIGINT to the process group, as by Ctrl-C, with set-up in it, stops everything', async (t) => {
  await assertLeavesNothing(t, (stack) => process.kill(-stack.pid, 'SIGINT'), {
    command: [SET_UP, fileURLToPath(new URL('../../src/main.ts', import.meta.url)), 'stack'],
  });
});

void test('SIGTERM while children are suspended stops them in order', async (t) => {
  const { home } = await assertLeavesNothing(t, (stack) => {
    process.kill(stack.describe().pids.redis, 'SIGSTOP');
    process.kill(stack.describe().pids.admin, 'SIGSTOP');
    stack.child.kill('SIGTERM');
  });
  assert.match(readFileSync(join(home, 'logs', 'redis.log'), 'utf8'), /ready to exit/);
});

void test('SIGTERM during the start stops everything', async (t) => {
  const stack = (await useStackHome(t)).start();
  const records = () => existsSync(join(stack.home, 'children', 'redis.json'));
  await until('Redis has been started', records, { account: () => stack.stderr });
  stack.child.kill('SIGTERM');
  assert.equal(await stack.ended(), 0, stack.stderr);
  assert.equal(stack.stdout, '', 'the stack was not ready yet');
  assert.equal(records(), false, 'Redis was stopped and its record removed');
});

void test('after the supervisor is killed, its processes end by themselves, and its servers at the next start', async (t) => {
  const home = await useStackHome(t);
  const killed = home.start();
  const { pids } = await killed.ready();
  killed.child.kill('SIGKILL');
  await killed.ended();
  const engine = [...pids.hotPath, ...pids.persister, pids.admin];
  await until('hot-path, persister and admin have ended', () => !engine.some(isAlive));

  const next = home.start();
  const description = await next.ready();
  assert.equal(isAlive(pids.redis), false, 'the old Redis is gone');
  assert.equal(isAlive(pids.postgres), false, 'the old PostgreSQL is gone');
  assert.match(next.stderr, /stopped the leftovers of a killed stack: .*redis/);
  assert.deepEqual(allPids(description).filter(isAlive), allPids(description));
});
