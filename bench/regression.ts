/**
 * Has something become slower? `npm run bench:guard` runs a short form of the bench and compares its ratios with those
 * that are kept. Ratios of different machines differ too, so it means most on the machine that they were measured on.
 *
 * Noise is what the kept rounds show: half the distance of their quartiles, twice, since a short run has few rounds, and
 * never less than a twentieth. What is worse by more than that is told, and the exit code is 1.
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
  console.error('Nothing is kept to compare with. Type:\n  npm run bench -- --write');
  process.exit(1);
}
const { results, failures } = await runScenarios(SCENARIOS, options);
const worse: string[] = [];
for (const { name, comparisons } of results) {
  for (const now of comparisons) {
    const before = kept.get(`${name}: ${now.what}`);
    // Without a direction there is no worse; and what is not a ratio belongs to the machine.
    if (!before || !isJudged(now)) continue;
    const change = now.median / before.median - 1;
    const loss = now.atMost === undefined ? -change : change;
    const noise = noiseOf(before);
    const line = `${now.what}: ${now.median}, kept ${before.median} (${signed(change)}, noise ${percent(noise)})`;
    console.log(`${loss > noise ? 'WORSE ' : 'ok    '} ${line}`);
    if (loss > noise) worse.push(line);
  }
}
for (const failure of failures) console.error(`without a result: ${failure}`);
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
