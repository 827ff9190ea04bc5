/**
 * Detects regressions: `npm run bench:guard` runs short benches of this checkout and of an earlier commit in turn, and
 * compares their ratios. Figures of two machines, or of two hours on one machine, are not comparable.
 *
 * A ratio is worse if its median is worse by more than 5 %, and its better quartile is worse than the worse quartile of
 * the earlier commit.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCommandSession } from '../harness/command/command-session.ts';
import { checkOut, ROOT } from './measure/earlier-commit.ts';
import { type Compared, type Spread, spreadOf } from './measure/rounds.ts';
import { type BenchArguments, benchCommand } from './measure/run-scenarios.ts';
import type { ScenarioResult } from './report/results.ts';
import { durable } from './scenarios/durable.ts';
import { persister } from './scenarios/persister.ts';
import { refusal } from './scenarios/refusal.ts';
import { refusalTime } from './scenarios/refusal-time.ts';
import { win } from './scenarios/win.ts';

const SCENARIOS = [refusal, refusalTime, win, durable, persister];
const LOSS_MIN = 0.05;

const options = benchCommand(
  'bench:guard',
  'Compares the ratios of a short bench with those of an earlier commit. Exits 1 when one is worse.',
  { scenarios: SCENARIOS, rounds: 5, seconds: 1 },
)
  .option('--before <commit>', 'the earlier commit', 'HEAD~1')
  .parse()
  .opts<BenchArguments & { before: string }>();
const { rounds, seconds, before } = options;
const only = options.only ?? SCENARIOS.map(({ name }) => name);

const session = openCommandSession();
try {
  const earlier = checkOut(before);
  const found = { now: new Map<string, Compared[]>(), before: new Map<string, Compared[]>() };
  for (let round = 1; round <= rounds; round++) {
    const turns = [
      { name: 'this checkout', directory: ROOT, ratios: found.now },
      { name: before, directory: earlier, ratios: found.before },
    ];
    for (const { name, directory, ratios } of round % 2 === 0 ? turns : turns.toReversed()) {
      session.step(`round ${round} of ${rounds}: ${name}`);
      for (const { name: scenario, comparisons } of await bench(directory)) {
        for (const each of comparisons) {
          const key = [scenario, each.metric, each.of, each.over].join(', ');
          ratios.set(key, [...(ratios.get(key) ?? []), each]);
        }
      }
    }
  }
  process.exitCode = report(found.now, found.before) ? 0 : 1;
} finally {
  await session.close();
}

/** One round of each scenario, by the bench of that checkout. */
async function bench(directory: string): Promise<ScenarioResult[]> {
  const results = mkdtempSync(join(tmpdir(), 'round-'));
  // PostgreSQL's user must be able to enter it.
  chmodSync(results, 0o755);
  const args = ['run', '--silent', 'bench', '--', '--rounds', '1', '--seconds', String(seconds)];
  const child = spawn('npm', [...args, '--only', ...only], {
    cwd: directory,
    env: { ...process.env, TMPDIR: results },
    // Its figures are those of one round.
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  session.stopping.addEventListener('abort', () => child.kill('SIGTERM'));
  await once(child, 'exit');
  session.stopping.throwIfAborted();
  const file = readdirSync(results, { recursive: true, encoding: 'utf8' }).find((path) =>
    path.endsWith('throughput.json'),
  );
  if (!file) throw new Error(`The bench in ${directory} left no result.`);
  return JSON.parse(readFileSync(join(results, file), 'utf8')) as ScenarioResult[];
}

/** True: all were measured, and no ratio is worse. */
function report(now: Map<string, Compared[]>, earlier: Map<string, Compared[]>): boolean {
  let isGood = now.size > 0;
  for (const [key, measured] of now) {
    const { what, over, atLeast, atMost } = measured[0]!;
    // A ratio without a target has no better or worse, and a figure that is no ratio depends on the machine.
    if (over === undefined || (atLeast === undefined && atMost === undefined)) continue;
    const known = earlier.get(key);
    if (!known) {
      console.log(`new    ${what}: ${text(ratiosOf(measured))}`);
      continue;
    }
    const [after, first] = [ratiosOf(measured), ratiosOf(known)];
    const change = after.median / first.median - 1;
    const isApart = atLeast === undefined ? after.low > first.high : after.high < first.low;
    const isWorse = isApart && Math.abs(change) > LOSS_MIN;
    const failed = rounds - measured.length;
    isGood &&= !isWorse && failed === 0;
    const verdict = isWorse ? 'WORSE ' : 'ok    ';
    const missing = failed > 0 ? `; ${failed} of ${rounds} rounds failed` : '';
    console.log(`${verdict} ${what}: ${text(after)}, before ${text(first)}${missing}`);
  }
  return isGood;
}

function ratiosOf(measured: readonly Compared[]): Spread {
  return spreadOf(measured.map(({ median }) => median));
}

function text({ median, low, high }: Spread): string {
  const [middle, from, to] = [median, low, high].map((value) => value.toPrecision(3));
  return `${middle} (quartiles ${from} – ${to})`;
}
