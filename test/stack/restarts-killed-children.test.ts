/** A killed child is restarted, stack.json has its new pid, and stdout keeps its one line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allPids, isAlive, until, useStackHome } from '../../harness/engine/stack-process.ts';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';

const CHILDREN: Record<string, (pids: StackDescription['pids']) => number> = {
  'hot-path': (pids) => pids.hotPath[1]!,
  persister: (pids) => pids.persister[0]!,
  admin: (pids) => pids.admin,
  redis: (pids) => pids.redis,
  postgres: (pids) => pids.postgres,
};

void test('a killed child is restarted with a new pid, and everything becomes ready again', async (t) => {
  const stack = (await useStackHome(t)).start({ env: { HOT_PATH_WORKERS: '2' } });
  const { hotPathUrl, adminUrl } = await stack.ready();
  for (const [name, pidOf] of Object.entries(CHILDREN)) {
    const pid = pidOf(stack.describe().pids);
    process.kill(pid, 'SIGKILL');
    await until(`stack.json has the new pid of ${name}`, () => {
      const now = pidOf(stack.describe().pids);
      return now !== pid && isAlive(now);
    });
    for (const url of [hotPathUrl, adminUrl]) {
      await until(`${url} is ready after ${name} was killed`, () => answersReady(url), {
        account: () => stack.stderr,
      });
    }
  }
  assert.equal(stack.stdout.trimEnd().split('\n').length, 1);
  const now = stack.describe();
  assert.equal(new Set(allPids(now)).size, 6);
  assert.deepEqual(allPids(now).filter(isAlive), allPids(now));
});

async function answersReady(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    return false;
  }
}
