/**
 * One child process: it is restarted whenever it dies, killed if it does not stop, and never restarted once stopped.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isAlive, until } from '../../harness/engine/stack-process.ts';
import { use } from '../../harness/use.ts';
import { ChildRecords } from '../../src/process/supervisor/child-records.ts';
import { ProcessLog } from '../../src/process/supervisor/process-log.ts';
import {
  type ProcessPlan,
  SupervisedProcess,
  type Supervision,
} from '../../src/process/supervisor/supervised-process.ts';

async function useSupervised(
  t: TestContext,
  script: string,
  supervision: Supervision = {},
  plan: Partial<ProcessPlan> = {},
): Promise<SupervisedProcess> {
  const child = new SupervisedProcess(
    {
      name: 'child',
      kind: 'node',
      command: process.execPath,
      args: ['--eval', script],
      env: { PATH: process.env.PATH },
      stopSignal: 'SIGTERM',
      stopDeadlineMs: 5_000,
      ...plan,
    },
    supervision,
  );
  await use(
    t,
    () => child.start(),
    () => child.stop(),
  );
  return child;
}

function useTemporaryDirectory(t: TestContext): Promise<string> {
  return use(
    t,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-supervision-')),
    (path) => rmSync(path, { recursive: true, force: true }),
  );
}

void test('a child that fails three times is restarted until it runs', async (t) => {
  const directory = await useTemporaryDirectory(t);
  const tries = JSON.stringify(join(directory, 'tries'));
  const deaths: string[] = [];
  const child = await useSupervised(
    t,
    `const fs = require('node:fs'); fs.appendFileSync(${tries}, '.');
     if (fs.readFileSync(${tries}, 'utf8').length <= 3) process.exit(7);
     process.send('started'); setInterval(() => {}, 1000);`,
    { onUnexpectedExit: (sentence) => deaths.push(sentence) },
  );
  await until('it reports that it has started', () => child.hasStarted);
  assert.equal(deaths.length, 3);
  assert.match(deaths[0]!, /^child \(process \d+\) ended with code 7; restarting it in \d+ ms$/);
  const delaysMs = deaths.map((sentence) => Number(/in (\d+) ms/.exec(sentence)![1]));
  for (const [index, boundMs] of [200, 400, 800].entries()) {
    assert.ok(delaysMs[index]! <= boundMs && delaysMs[index]! >= boundMs / 2, String(delaysMs));
  }
});

void test('a missing command is retried and can be stopped', async (t) => {
  const child = await useSupervised(t, '', {}, { command: '/does/not/exist' });
  await until('it has failed twice', () => child.consecutiveExits >= 2);
  await child.stop();
});

void test('a child that ignores the signal is killed at the deadline', async (t) => {
  const child = await useSupervised(
    t,
    `process.on('SIGTERM', () => {}); process.send('started'); setInterval(() => {}, 1000);`,
    {},
    { stopDeadlineMs: 200 },
  );
  await until('it reports that it has started', () => child.hasStarted);
  const { pid } = child;
  await Promise.all([child.stop(), child.stop()]);
  assert.equal(isAlive(pid), false);
});

void test('its output is logged with its pid', async (t) => {
  const directory = await useTemporaryDirectory(t);
  const log = new ProcessLog(directory, 'child');
  const child = await useSupervised(
    t,
    `console.log('out'); console.error('err'); process.send('started'); setInterval(() => {}, 1000);`,
    { log },
  );
  await until('it reports that it has started', () => child.hasStarted);
  await child.stop();
  const lines = readFileSync(join(directory, 'child.log'), 'utf8').trim().split('\n');
  assert.deepEqual(lines.sort(), [`${child.pid} | err`, `${child.pid} | out`]);
});

void test('a recorded child that was left running is ended, and another process with a recorded pid is not', async (t) => {
  const directory = await useTemporaryDirectory(t);
  const records = new ChildRecords(directory);
  const leftover = await useSupervised(t, 'setInterval(() => {}, 1000)', { records });
  const stranger = await useSupervised(t, 'setInterval(() => {}, 1000)', {}, { name: 'stranger' });
  // The record has another start time: the pid was reused by another process.
  writeFileSync(
    join(directory, 'stranger.json'),
    JSON.stringify({ kind: 'node', pid: stranger.pid, identity: 'x', stopSignal: 'SIGKILL' }),
  );
  const { pid } = leftover;
  const strangerPid = stranger.pid;
  assert.deepEqual(await new ChildRecords(directory).stopLeftovers(), ['child']);
  assert.equal(isAlive(pid), false);
  assert.equal(isAlive(strangerPid), true);
});
