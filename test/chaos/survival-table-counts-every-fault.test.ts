/** The README's table of what was survived where leaves out no fault of a recorded result, and counts none twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readChaosResults } from '../../chaos/results.ts';
import { type ChaosResult, survivalTable } from '../../chaos/survival-table.ts';

const results = readChaosResults();

test('each column adds up to all faults that took effect', () => {
  for (const result of results) {
    const done = Object.values(result.faults).reduce((sum, count) => sum + count.done, 0);
    const counts = columnOf(survivalTable([result]), 1).slice(FAULTS_FROM);
    assert.equal(
      counts.reduce((sum, cell) => sum + (cell === '–' ? 0 : Number(cell.replaceAll(',', ''))), 0),
      done,
    );
  }
});

test('a column for each result: one server first, and more durable profiles first', () => {
  const [result] = results as [ChaosResult];
  const named = (topology: ChaosResult['topology'], profile: ChaosResult['profile']) => ({
    ...result,
    topology,
    profile,
    seeds: { first: 1, runs: 50 },
    runsWithoutViolation: 49,
  });
  const table = survivalTable([
    named('cluster', 'fast'),
    named('cluster', 'replicated'),
    named('single', 'safe'),
  ]);
  const [head] = table.split('\n');
  assert.match(head!, /one server.*`safe`.*Cluster.*`replicated`.*Cluster.*`fast`/);
  assert.equal(columnOf(table, 1)[2], '49 of 50');
});

/** After the head, the rule, and the rows of runs and reservations. */
const FAULTS_FROM = 5;

function columnOf(table: string, index: number): string[] {
  return table.split('\n').map((line) => line.split('|')[index + 1]!.trim());
}
