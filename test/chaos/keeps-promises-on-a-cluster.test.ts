/** A short chaos run on a cluster: the sale's slot moves, its master is demoted within a batch, and another one isolated. */
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../chaos/run.ts';
import { seededScenario } from '../../chaos/seeded-scenario.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { FILE } from '../../harness/use.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';

const SEED = 3_399;
const FAULTS = ['move-slot', 'demote', 'isolate'];
const REST_MS_MAX = 60_000;

const postgres = await usePostgres(FILE);

test('a sale keeps every promise while servers of a cluster change their roles', async () => {
  const { scenario, schedule } = seededScenario({
    seed: SEED,
    topology: 'cluster',
    hasClocks: false,
    buyers: 300,
    windowMs: 5_000,
    faults: { least: 5, most: 5 },
    dataLosses: [],
    copyChance: 0,
    archiveChance: 0,
    restoreChance: 0,
  });
  const drawn = schedule.map(({ kind }) => kind as string);
  for (const fault of FAULTS)
    assert.ok(drawn.includes(fault), `this seed no longer has "${fault}": choose another seed`);
  const report = await run(
    {
      seed: SEED,
      mainModule: MAIN_MODULE,
      durability: 'replicated',
      topology: 'cluster',
      directory: mkdtempSync(join(tmpdir(), 'flash-sale-chaos-')),
      postgres,
      restMsMax: REST_MS_MAX,
      verifies: true,
    },
    scenario,
  );
  assert.deepEqual(report.violations, []);
  // The others meet nothing if no purchase arrives within their time, or if an election is in progress.
  const isolation = report.effectiveFaults.find(({ kind }) => kind === 'isolate');
  assert.ok(isolation, `only ${report.effectiveFaults.map(({ kind }) => kind).join(', ')}`);
  assert.ok(isolation.replaced, 'no replica was promoted');
  assert.ok(report.reservations > 50, `only ${report.reservations} reservations`);
});
