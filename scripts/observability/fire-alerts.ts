/**
 * `npm run alerts:fire`: starts an engine and a real Prometheus, causes what each alert is for, and reports whether it
 * fired and when. The times of the rules are shortened, see shortened-rules.ts. Exits 1 when an alert did not fire.
 *
 *   npm run alerts:fire                                all, in about ten minutes
 *   npm run alerts:fire -- --only FlashSaleRedisFull   the fault of one alert
 */
import { setTimeout as sleep } from 'node:timers/promises';
import Table from 'cli-table3';
import { command } from '../../harness/command/command-line.ts';
import { openCommandSession } from '../../harness/command/command-session.ts';
import { keepBenchResult, WRITE_OPTION } from '../../harness/command/result-files.ts';
import { FAULTS, type Fault } from './faults.ts';
import { type ObservedEngine, useObservedEngine } from './observed-engine.ts';
import { alertRules } from './rules.ts';
import { FACTOR, shortenedRules } from './shortened-rules.ts';

/** Above the second that a supervisor waits for a worker that hangs. */
const SCRAPE_MS = 1_500;
const FIRE_MS_MAX = 150_000;
const POLL_MS = 250;

interface Fired {
  alert: string;
  cause: string;
  /** From the start of the fault; undefined: it did not fire in time. */
  afterSeconds: number | undefined;
}

const options = command(
  'alerts:fire',
  'Cause what each alert is for on a running engine. Exits 1 when one does not fire.',
)
  .option('--only <alert...>', 'only the faults of these alerts')
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ only?: string[]; write?: boolean }>();

const session = openCommandSession();
try {
  const chosen = FAULTS.filter(
    ({ alerts }) => !options.only || alerts.some((alert) => options.only!.includes(alert)),
  );
  if (chosen.length === 0) throw new Error('No fault is known for that alert.');
  const engine = await useObservedEngine(session, {
    rules: shortenedRules(),
    intervalMs: SCRAPE_MS,
  });
  // Counters need an earlier sample, and alerts of the start must end.
  await sleep(5 * SCRAPE_MS);
  const fired: Fired[] = [];
  for (const fault of chosen) fired.push(...(await cause(engine, fault)));
  report(fired);
  const all = new Set(FAULTS.flatMap(({ alerts }) => alerts));
  const without = alertRules().filter(({ alert }) => !all.has(alert));
  for (const { alert } of without) console.log(`${alert}: no fault is known that causes it`);
  await keepBenchResult(
    'alerts',
    { bench: 'alerts', factor: FACTOR, scrapeMs: SCRAPE_MS, fired },
    options,
  );
  if (fired.some(({ afterSeconds }) => afterSeconds === undefined)) process.exitCode = 1;
} finally {
  await session.close();
}
process.exit();

async function cause(engine: ObservedEngine, fault: Fault): Promise<Fired[]> {
  session.step(fault.cause);
  const firedAlready = new Set(await firing(engine));
  const startedAt = performance.now();
  const end = await fault.begin(engine);
  const missing = new Set(fault.alerts);
  const results: Fired[] = [];
  while (missing.size > 0 && performance.now() - startedAt < FIRE_MS_MAX) {
    for (const alert of await firing(engine)) {
      // An alert of an earlier fault must end first.
      if (firedAlready.has(alert) || !missing.delete(alert)) continue;
      const afterSeconds = Math.round((performance.now() - startedAt) / 100) / 10;
      results.push({ alert, cause: fault.cause, afterSeconds });
      console.log(`  ${alert} fired after ${afterSeconds} s`);
    }
    const now = new Set(await firing(engine));
    for (const alert of firedAlready) if (!now.has(alert)) firedAlready.delete(alert);
    await sleep(POLL_MS);
  }
  await end();
  for (const alert of missing) {
    results.push({ alert, cause: fault.cause, afterSeconds: undefined });
    console.log(`  ${alert} did NOT fire`);
  }
  await Promise.all(Object.values(engine.processes).map((process) => process.untilReady()));
  return results;
}

async function firing(engine: ObservedEngine): Promise<string[]> {
  const alerts = await engine.prometheus.alerts();
  return alerts.flatMap(({ labels, state }) =>
    state === 'firing' ? [labels.alertname ?? ''] : [],
  );
}

function report(fired: readonly Fired[]): void {
  const table = new Table({
    head: ['alert', 'fired after', 'caused by'],
    style: { head: [], border: [] },
  });
  for (const { alert, afterSeconds, cause: by } of fired)
    table.push([alert, afterSeconds === undefined ? 'NOT FIRED' : `${afterSeconds} s`, by]);
  console.log(table.toString());
  const count = fired.filter(({ afterSeconds }) => afterSeconds !== undefined).length;
  console.log(`${count} of ${fired.length} alerts fired. Times of the rules ÷ ${FACTOR}.`);
}
