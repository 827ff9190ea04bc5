/** `demo --checkout` as people run it: reservations and payments agree, also when processes are killed. */
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

function countIn(stdout: string, row: string): number {
  const found = new RegExp(`│ ${row} +│ (\\d+) +│ ok │`).exec(stdout);
  assert.ok(found, `no row "${row}" in:\n${stdout}`);
  return Number(found[1]);
}

function assertSettled(demo: StackProcess): void {
  const { stdout } = demo;
  const [reserved, confirmed, cancelled, expired] = [
    'reserved',
    'confirmed: paid',
    'cancelled: payment refused',
    'expired: never paid',
  ].map((row) => countIn(stdout, row));
  assert.ok(reserved! >= UNITS, 'all units were reserved');
  assert.equal(reserved, confirmed! + cancelled! + expired!);
  assert.equal(countIn(stdout, 'remaining: units − confirmed'), UNITS - confirmed!);
  assert.ok(confirmed! > cancelled!, 'most payments go through');
  assert.match(stdout, /Every promise held\./);
}

void test('reservations and payments agree when shop and persister are killed during the payments', async (t) => {
  const demo = (await useStackHome(t)).start({ command: DEMO });
  await until('some payments are done', () => /payments [2-9]\d %/.test(demo.stderr), {
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
