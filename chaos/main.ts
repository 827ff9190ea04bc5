/**
 * The chaos suite: `npm run chaos -- --runs 200 --seed 1`. Each run is a sale on the real stack while processes are
 * killed and frozen and connections cut by a schedule that its seed draws; afterwards a checker compares what clients
 * were told with what Redis and PostgreSQL hold. Exits 1 when any run broke a promise, and keeps that run's logs.
 */
import { Option } from 'commander';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { WRITE_OPTION } from '../harness/command/result-files.ts';
import { startPostgres, type TestPostgres } from '../harness/servers/postgres.ts';
import { MAIN_MODULE } from '../src/process/supervisor/supervised-process.ts';
import { describeFault, type MemoryFaultKind } from './faults/schedule.ts';
import { type CompletedRun, printSummary, writeResult } from './results.ts';
import { type RunReport, run } from './run.ts';
import { openRunLogs } from './run-logs.ts';
import { seededScenario } from './seeded-scenario.ts';
import type { Durability } from './stack.ts';

/** Enough evidence to begin with; a run that goes wrong can break a promise a thousand times. */
const VIOLATIONS_SHOWN = 12;
const REST_MS_MAX = 60_000;
const WINDOW_MS = 5_000;
const FAULTS = { least: 6, most: 14 };
/** Under `safe` Redis loses nothing that it has answered, unless it loses everything. */
const MEMORY_FAULTS: Record<Durability, readonly MemoryFaultKind[]> = {
  safe: ['flush', 'lose-disk'],
  fast: ['flush', 'lose-disk', 'lose-tail'],
};

const options = command('chaos', 'Sells while everything dies, and checks what was promised.')
  .option('--runs <count>', 'how many, with the seeds that follow', wholeNumber, 20)
  .option('--seed <number>', 'of the first run', wholeNumber, 1)
  .option('--buyers <count>', 'in each run', wholeNumber, 2_000)
  .option('--at-once <count>', 'runs side by side, each with servers of its own', wholeNumber, 1)
  .addOption(
    new Option('--profile <durability>', 'as DURABILITY').choices(['safe', 'fast']).default('safe'),
  )
  .option(...WRITE_OPTION)
  .parse()
  .opts<{
    runs: number;
    seed: number;
    buyers: number;
    atOnce: number;
    profile: Durability;
    write?: boolean;
  }>();

const { logsOf, forgetLogsOf } = openRunLogs();
const completed: CompletedRun[] = [];
const { stopping, after, close } = openCommandSession({ tellSoFar });
let nextSeed = options.seed;

const servers = await Promise.all(Array.from({ length: options.atOnce }, () => startPostgres()));
after(() => Promise.all(servers.map((postgres) => postgres.stop())));
try {
  const lanes = servers.map(runOneAfterTheOther);
  after(() => Promise.allSettled(lanes));
  await Promise.all(lanes);
  completed.sort((a, b) => a.report.seed - b.report.seed);
  printSummary(completed);
  await writeResult(completed, { ...options, postgresUrl: servers[0]!.url });
} finally {
  await close();
}
process.exit(completed.every(({ report }) => report.violations.length === 0) ? 0 : 1);

/** PostgreSQL is killed too, so whoever runs at the same time has another one. */
async function runOneAfterTheOther(postgres: TestPostgres): Promise<void> {
  while (nextSeed < options.seed + options.runs) {
    const seed = nextSeed++;
    const { scenario, schedule } = seededScenario({
      seed,
      buyers: options.buyers,
      windowMs: WINDOW_MS,
      faults: FAULTS,
      memoryFaults: memoryFaultsOf(seed),
    });
    if (options.runs === 1) for (const fault of schedule) console.log(describeFault(fault));
    const report = await run(
      {
        seed,
        mainModule: MAIN_MODULE,
        durability: options.profile,
        directory: logsOf(String(seed)),
        postgres,
        restMsMax: REST_MS_MAX,
        verifies: true,
        stopping,
      },
      scenario,
    ).finally(() => {
      if (stopping.aborted) forgetLogsOf(String(seed));
    });
    completed.push({ report, schedule });
    printRun(report, schedule.length);
    if (report.violations.length === 0) forgetLogsOf(String(seed));
    else printViolations(report);
  }
}

function tellSoFar(): void {
  if (completed.length > 0) printSummary(completed);
}

/** With odd seeds Redis keeps its memory, so that nothing at all that was acknowledged may be missing. */
function memoryFaultsOf(seed: number): readonly MemoryFaultKind[] {
  return seed % 2 === 1 ? [] : MEMORY_FAULTS[options.profile];
}

function printRun(report: RunReport, faults: number): void {
  const { seed, seconds, restSeconds, violations, reservations, lost, effectiveFaults } = report;
  const requests = Object.values(report.responses).reduce((sum, count) => sum + count, 0);
  const verdict = violations.length === 0 ? 'ok' : `${violations.length} VIOLATIONS`;
  console.log(
    `seed ${seed}  ${verdict}  ${effectiveFaults.length} of ${faults} faults  ${requests} requests  ${reservations} reservations${lost > 0 ? ` (${lost} more lost with Redis)` : ''}  at rest after ${restSeconds.toFixed(1)} s  ${seconds.toFixed(1)} s`,
  );
}

function printViolations({ seed, violations }: RunReport): void {
  for (const { kind, evidence } of violations.slice(0, VIOLATIONS_SHOWN)) {
    console.log(`    ${kind}: ${evidence}`);
  }
  const again = `npm run chaos -- --runs 1 --seed ${seed} --profile ${options.profile} --buyers ${options.buyers}`;
  console.log(`    ${violations.length} violations; the same again: ${again}`);
  console.log(`    logs: ${logsOf(String(seed))}`);
}
