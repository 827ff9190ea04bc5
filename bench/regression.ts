/**
 * Detects regressions: `npm run bench:guard` runs a short bench and compares its ratios with the recorded ones.
 * Ratios also differ between machines, so the comparison means most on the machine of the recorded results.
 *
 * The noise is the distance between the recorded quartiles (half of it, doubled because a short run has few rounds),
 * and at least 5 %. A ratio that is worse by more than the noise is reported.
 */

import type { Compared } from './measure/rounds.ts';
import { type BenchArguments, benchCommand, runScenarios } from './measure/run-scenarios.ts';
import { readResults } from './report/results.ts';
import { durable } from './scenarios/durable.ts';
import { persister } from './scenarios/persister.ts';
import { refusal } from './scenarios/refusal.ts';
import { refusalTime } from './scenarios/refusal-time.ts';
import { win } from './scenarios/win.ts';

const SCENARIOS = [refusal, refusalTime, win, durable, persister];
const NOISE_MIN = 0.05;
const NOISE_FACTOR = 2;

const options = benchCommand(
  'bench:guard',
  'Runs a short bench and reports ratios that are worse than the recorded ones. Exits 1 when there are any.',
  { scenarios: SCENARIOS, rounds: 3, seconds: 1 },
)
  .parse()
  .opts<BenchArguments>();

const kept = new Map(
  readResults('throughput.json').flatMap(({ name, comparisons }) =>
    comparisons.map((each): [string, Compared] => [`${name}: ${each.what}`, each]),
  ),
);
if (kept.size === 0) {
  console.error('There is no recorded result to compare with. Type:\n  npm run bench -- --write');
  process.exit(1);
}
const { results, failures } = await runScenarios(SCENARIOS, options);
const worse: string[] = [];
for (const { name, comparisons } of results) {
  for (const now of comparisons) {
    const before = kept.get(`${name}: ${now.what}`);
    // A ratio without a target has no better or worse, and a figure that is no ratio depends on the machine.
    if (!before || !isJudged(now)) continue;
    const change = now.median / before.median - 1;
    const loss = now.atMost === undefined ? -change : change;
    const noise = noiseOf(before);
    const line = `${now.what}: ${now.median}, recorded ${before.median} (${signed(change)}, noise ${percent(noise)})`;
    console.log(`${loss > noise ? 'WORSE ' : 'ok    '} ${line}`);
    if (loss > noise) worse.push(line);
  }
}
for (const failure of failures) console.error(`no result: ${failure}`);
process.exit(worse.length > 0 || failures.length > 0 ? 1 : 0);

function isJudged({ atLeast, atMost, over }: Compared): boolean {
  return over !== undefined && (atLeast !== undefined || atMost !== undefined);
}

function noiseOf({ median, low, high }: Compared): number {
  return Math.max(NOISE_MIN, (NOISE_FACTOR * (high - low)) / 2 / median);
}

function signed(change: number): string {
  return `${change < 0 ? '−' : '+'}${percent(Math.abs(change))}`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
