/** `demo --checkout` as people run it: the sale is paid for, and goods and payments agree, whoever dies meanwhile. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  MAIN_MODULE,
  type StackProcess,
  until,
  useStackHome,
} from '../../harness/engine/stack-process.ts';

const BUYERS = 600;
const UNITS = 60;
const SIZE = ['--buyers', String(BUYERS), '--units', String(UNITS), '--hold-seconds', '8'];
const DEMO = [MAIN_MODULE, 'demo', '--checkout', '--exit', ...SIZE];

function countIn(stdout: string, line: string): number {
  const found = new RegExp(`│ ${line} +│ (\\d+) +│ ok │`).exec(stdout);
  assert.ok(found, `no line "${line}" in:\n${stdout}`);
  return Number(found[1]);
}

function assertSettled(demo: StackProcess): void {
  const { stdout } = demo;
  const [reserved, confirmed, cancelled, expired] = [
    'reserved',
    'confirmed: paid',
    'cancelled: payment refused',
    'expired: never paid',
  ].map((line) => countIn(stdout, line));
  assert.ok(reserved! >= UNITS, 'all units were reserved');
  assert.equal(reserved, confirmed! + cancelled! + expired!);
  assert.equal(countIn(stdout, 'remaining: units − confirmed'), UNITS - confirmed!);
  assert.ok(confirmed! > cancelled!, 'most payments go through');
  assert.match(stdout, /Every promise held\./);
}

void test('everything reserved is confirmed, cancelled or expired, and the rest is in stock', async (t) => {
  const demo = (await useStackHome(t)).start({ command: DEMO });
  assert.equal(await demo.ended(), 0, demo.stderr + demo.stdout);
  assertSettled(demo);
});

void test('a shop and a persister killed in the middle of the payments change nothing of that', async (t) => {
  const demo = (await useStackHome(t)).start({ command: DEMO });
  await until('some payments are through', () => /payments [2-9]\d %/.test(demo.stderr), {
    account: () => demo.stderr,
    deadlineMs: 60_000,
  });
  const log = readFileSync(join(demo.home, 'logs', 'checkout.log'), 'utf8');
  process.kill(Number.parseInt(log, 10), 'SIGKILL');
  process.kill(demo.describe().pids.persister[0]!, 'SIGKILL');
  assert.equal(await demo.ended(), 0, demo.stderr + demo.stdout);
  assert.match(demo.stderr, /checkout .* was ended by SIGKILL; restarting it/);
  assertSettled(demo);
});
