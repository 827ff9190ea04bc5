/** The README's table of what was survived where has each fault that a schedule can have in one row. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { drawSchedule } from '../../chaos/faults/schedule.ts';
import { nameOfFault, readChaosResults } from '../../chaos/results.ts';
import { type ChaosResult, ROWS, survivalReport } from '../../chaos/survival-table.ts';
import { TOPOLOGIES } from '../../chaos/topologies/topology.ts';
import { Random } from '../../harness/random.ts';

const SCHEDULES = 200;
const [recorded] = readChaosResults() as [ChaosResult];

test('each fault has one row', () => {
  const names = new Set<string>();
  for (const topology of TOPOLOGIES) {
    for (let seed = 1; seed <= SCHEDULES; seed++) {
      const schedule = drawSchedule(new Random(seed), {
        topology,
        hasClocks: true,
        windowMs: 5_000,
        faults: { least: 14, most: 14 },
        dataLosses: ['flush', 'lose-disk', 'lose-tail'],
        copyChance: 1,
      });
      for (const fault of schedule) names.add(nameOfFault(fault));
    }
  }
  assert.ok(names.size > 60, `${names.size} names`);
  for (const name of names) {
    const rows = ROWS.filter(
      ([, pattern, counts = 'done']) => counts === 'done' && pattern.test(name),
    );
    assert.equal(rows.length, 1, name);
  }
});

test('one server comes first, then more durable profiles; a fault that never took effect has no row, or a dash', () => {
  const column = (topology: ChaosResult['topology'], profile: ChaosResult['profile']) => ({
    ...recorded,
    topology,
    profile,
    seeds: { first: 1, runs: 50 },
    runsWithoutViolation: 49,
    faults: {
      'kill redis': { planned: 2_000, done: 1_500 },
      'move-slot redis': { planned: 1, done: 0 },
    },
  });
  const first = column('single', 'safe');
  const report = survivalReport([
    column('cluster', 'fast'),
    column('cluster', 'replicated'),
    column('single', 'fast'),
    { ...first, faults: { ...first.faults, 'slow-disk redis': { planned: 1, done: 1 } } },
  ]);
  const [head, , runs] = report.split('\n');
  assert.match(
    head!,
    /one server.*`safe`.*one server.*`fast`.*Cluster.*`replicated`.*Cluster.*`fast`/,
  );
  assert.match(runs!, / 49 of 50 \| 49 of 50 /);
  assert.match(report, /the master \| 1,500 \|/);
  assert.doesNotMatch(report, /slot of the sale moved/);
  assert.match(report, /slow disk \| 1 \| – \|/);
});

test('a row of its own says how often the master was replaced; a record without this count has a dash', () => {
  const column = (topology: ChaosResult['topology'], replaced?: number) => ({
    ...recorded,
    topology,
    faults: {
      'isolate redis': { planned: 9, done: 8, ...(replaced !== undefined && { replaced }) },
    },
  });
  assert.match(
    survivalReport([column('sentinel'), column('cluster', 6)]),
    /isolated .*\| 8 \| 8 \|\n\| … and a replica was promoted meanwhile \| – \| 6 \|/,
  );
});

test('a head says what was recorded when, and a command repeats it', () => {
  const report = survivalReport([
    {
      ...recorded,
      versions: { ...recorded.versions, commit: 'abc1234', date: '2026-11-30T23:00:00.000Z' },
      topology: 'cluster',
      server: 'valkey',
      profile: 'fast',
      seeds: { first: 31, runs: 50 },
      buyersPerRun: 2_000,
      runsAtOnce: 2,
    },
  ]);
  assert.match(report, /`fast` \(abc1234, 2026-11-30\) \|/);
  const command =
    'npm run chaos -- --topology cluster --server valkey --profile fast --seed 31 --runs 50 --buyers 2000 --at-once 2';
  assert.ok(report.split('\n').includes(command), report);
});

test('the README has what the recorded results give', () => {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  const [, block] = /<!-- chaos -->\n\n(.*)\n\n<!-- \/chaos -->/s.exec(readme)!;
  assert.equal(block, survivalReport(readChaosResults()));
});
