/**
 * A short chaos suite: one sale with a fixed fault schedule, and an engine with one mistake that must be found.
 * `npm run chaos` and `npm run chaos:variants` run the rest.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ENGINE_PROCESSES, type PlannedFault } from '../../chaos/faults/schedule.ts';
import { run } from '../../chaos/run.ts';
import { seededScenario } from '../../chaos/seeded-scenario.ts';
import { runBroken } from '../../chaos/variants/run-variant.ts';
import { VARIANTS } from '../../chaos/variants/variants.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { RECORDS_VARIABLE } from '../../harness/servers/process-records.ts';
import { FILE } from '../../harness/use.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';

/** Kills both servers and a hot path, loses replies, and flushes Redis. */
const SEED = 1;
const FAULTS = ['kill redis', 'kill postgres', 'kill hot-path-2', 'flush redis'];
const REST_MS_MAX = 40_000;
const VARIANT_IN_SHORT = 'scripts ignore the fence';

const directory = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-'));
const postgres = await usePostgres(FILE);

test('a sale keeps every promise while Redis, PostgreSQL and processes die and links break', async () => {
  const choices = {
    seed: SEED,
    topology: 'single',
    hasClocks: false,
    buyers: 400,
    windowMs: 3_000,
    faults: { least: 8, most: 8 },
    dataLosses: ['flush'],
    copyChance: 0,
    archiveChance: 0,
    restoreChance: 0,
  } as const;
  const { scenario, schedule } = seededScenario(choices);
  const drawn = namesOf(schedule);
  for (const fault of FAULTS) {
    assert.ok(drawn.includes(fault), `this seed no longer has "${fault}": choose another seed`);
  }
  const report = await run(
    {
      seed: SEED,
      mainModule: MAIN_MODULE,
      durability: 'safe',
      topology: 'single',
      directory,
      postgres,
      restMsMax: REST_MS_MAX,
      verifies: true,
    },
    {
      ...scenario,
      act: (context) => {
        const { stack } = context;
        const unrecorded = ENGINE_PROCESSES.filter((name) => !isRecorded(stack.pidOf(name)));
        assert.deepEqual(unrecorded, [], 'they would survive this test if it were killed');
        return scenario.act(context);
      },
    },
  );
  assert.deepEqual(report.violations, []);
  const done = namesOf(report.effectiveFaults);
  for (const fault of FAULTS) assert.ok(done.includes(fault), `${fault} had no effect`);
  assert.ok(
    report.reservations > 50,
    `only ${report.reservations} reservations; responses: ${JSON.stringify(report.responses)}`,
  );
});

function isRecorded(pid: number): boolean {
  return existsSync(join(process.env[RECORDS_VARIABLE]!, String(pid)));
}

function namesOf(faults: readonly PlannedFault[]): string[] {
  return faults.map(({ kind, target }) => `${kind} ${target}`);
}

test(`an engine with a mistake is caught: ${VARIANT_IN_SHORT}`, async () => {
  const variant = VARIANTS.find(({ name }) => name === VARIANT_IN_SHORT)!;
  const { violations } = await runBroken(variant, { postgres, directory });
  const found = [...new Set(violations.map(({ kind }) => kind))];
  assert.ok(found.includes(variant.expected), `found only: ${found.join(', ') || 'nothing'}`);
});
