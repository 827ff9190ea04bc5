/** The demo as people run it: it prints its tables, also while processes of the stack are killed or suspended. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allPids,
  isAlive,
  MAIN_MODULE,
  until,
  useStackHome,
} from '../../harness/engine/stack-process.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';

const BUYERS = 3_000;
const UNITS = 300;
/** A busy machine is slow to start a stack and to send the crowd. */
const PATIENCE = { deadlineMs: 120_000 };
const DEMO = [MAIN_MODULE, 'demo', '--buyers', String(BUYERS), '--units', String(UNITS)];

function assertPromisesShown(stdout: string): void {
  assert.match(stdout, new RegExp(`buyers with a reservation +│ ${UNITS} +│ ok`));
  assert.match(stdout, new RegExp(`buyers with sold_out +│ ${BUYERS - UNITS} +│ ok`));
  assert.match(stdout, new RegExp(`rows in PostgreSQL +│ ${UNITS} +│ ok`));
  assert.match(stdout, /Every promise held\./);
  assert.doesNotMatch(stdout, /BROKEN/);
}

void test('with --exit, a killed persister and a suspended PostgreSQL delay rows and lose none', async (t) => {
  const demo = (await useStackHome(t)).start({ command: [...DEMO, '--exit'] });
  await until('the purchases begin', () => demo.stderr.includes('one each'), {
    ...PATIENCE,
    account: () => demo.stderr,
  });
  const { pids } = demo.describe();
  // A suspended PostgreSQL accepts no connections, which the restarted persister needs.
  freeze(pids.postgres);
  process.kill(pids.persister[0]!, 'SIGKILL');
  await until('every buyer has a response', () => demo.stderr.includes('buyers 100 %'), {
    ...PATIENCE,
    account: () => demo.stderr,
  });
  const restarted = () => demo.describe().pids.persister[0] !== pids.persister[0];
  await until('the persister is restarted', restarted, { ...PATIENCE, account: () => demo.stderr });
  assert.equal(demo.stdout, '', 'no result without rows');
  thaw(pids.postgres);
  assert.equal(await demo.ended(), 0, demo.stderr + demo.stdout);
  assertPromisesShown(demo.stdout);
  assert.doesNotMatch(demo.stdout, /http:|token/, 'the stack is stopped');
});

void test('without --exit it runs until it is stopped, and then stops everything', async (t) => {
  const demo = (await useStackHome(t)).start({ command: DEMO });
  const isOver = () => /\ndashboard .*\n/.test(demo.stdout);
  await until('the demo is over', isOver, { ...PATIENCE, account: () => demo.stderr });
  assertPromisesShown(demo.stdout);
  const { adminUrl } = demo.describe();
  const line = demo.stdout.trimEnd().split('\n').at(-1)!;
  const [, url, code] =
    /^dashboard {3}(.*)\/#\/sign-in\/([\w-]{43}) {3}\(works once, for 5 minutes\)$/.exec(line)!;
  assert.equal(url, adminUrl);
  const signedIn = await fetch(`${adminUrl}/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ code }),
  });
  assert.equal(signedIn.status, 201);
  const pids = allPids(demo.describe());
  assert.deepEqual(pids.filter(isAlive), pids);
  demo.child.kill('SIGINT');
  assert.equal(await demo.ended(), 0, demo.stderr);
  assert.deepEqual(pids.filter(isAlive), []);
});

void test('a demo that is stopped early does not claim that promises held', async (t) => {
  const demo = (await useStackHome(t)).start({ command: [...DEMO, '--exit'] });
  await until('the stack is ready', () => demo.stderr.includes('Ready:'), {
    ...PATIENCE,
    account: () => demo.stderr,
  });
  const pids = allPids(demo.describe());
  demo.child.kill('SIGTERM');
  assert.equal(await demo.ended(), 1, demo.stderr);
  assert.doesNotMatch(demo.stdout, /Every promise held/);
  assert.match(demo.stderr, /Stopped before the end of the sale: no promise was checked/);
  assert.deepEqual(pids.filter(isAlive), []);
});
