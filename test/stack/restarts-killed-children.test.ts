/**
 * A killed child is restarted, stack.json has its new pid, and stdout keeps its one line. A session that
 * began with the printed link continues.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allPids, isAlive, until, useStackHome } from '../../harness/engine/stack-process.ts';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';

/** The last line of `npm start`. */
const LINK = /\ndashboard {3}(\S+)\/#\/sign-in\/([\w-]{43}) {3}\(works once, for 5 minutes\)\n$/;

const CHILDREN: Record<string, (pids: StackDescription['pids']) => number> = {
  'hot-path': (pids) => pids.hotPath[1]!,
  persister: (pids) => pids.persister[0]!,
  admin: (pids) => pids.admin,
  redis: (pids) => pids.redis,
  postgres: (pids) => pids.postgres,
};

void test('a killed child is restarted with a new pid, and everything becomes ready again', async (t) => {
  const stack = (await useStackHome(t)).start({ env: { HOT_PATH_WORKERS: '2' } });
  const { hotPathUrl, adminUrl, adminToken } = await stack.ready();
  await until('the link is printed', () => LINK.test(stack.stderr), {
    account: () => stack.stderr,
  });
  const [, origin, code] = LINK.exec(stack.stderr)!;
  assert.equal(origin, adminUrl);
  const signedIn = await fetch(`${adminUrl}/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ code }),
  });
  assert.equal(signedIn.status, 201);
  const [cookie] = signedIn.headers.get('set-cookie')!.split(';');
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
  const later = await fetch(`${adminUrl}/session`, { headers: { cookie: cookie! } });
  assert.equal(later.status, 200, 'the session outlives admin and Redis');
  const files = readdirSync(join(stack.home, 'logs'));
  assert.ok(files.length >= 5);
  for (const file of files) {
    const text = readFileSync(join(stack.home, 'logs', file), 'utf8');
    assert.ok(!text.includes(code!) && !text.includes(adminToken), `a secret is in ${file}`);
  }
  assert.doesNotMatch(JSON.stringify(stack.describe()), /sign-in/);
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
