/**
 * The chaos suite: `npm run chaos -- --runs 200 --seed 1`. Each run is a sale on the real stack while processes are
 * killed and frozen and connections cut by a schedule that its seed draws; afterwards a checker compares what clients
 * were told with what Redis and PostgreSQL hold. Exits 1 when any run broke a promise, and keeps that run's logs.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { MAIN_MODULE } from '../src/stack/home.ts';
import { startPostgres, type TestPostgres } from '../test/support/servers.ts';
import { type CompletedRun, printSummary, writeResult } from './results.ts';
import { type RunReport, run } from './run.ts';
import { describeFault, type MemoryFaultKind } from './schedule.ts';
import { seededScenario } from './seeded-scenario.ts';
import type { Durability } from './stack.ts';
import { openWorkplace } from './workplace.ts';

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

const program = new Command('chaos')
  .description('Sells while everything dies, and checks what was promised.')
  .option('--runs <count>', 'how many, with the seeds that follow', wholeNumber, 20)
  .option('--seed <number>', 'of the first run', wholeNumber, 1)
  .option('--buyers <count>', 'in each run', wholeNumber, 2_000)
  .option('--at-once <count>', 'runs side by side, each with servers of its own', wholeNumber, 1)
  .addOption(
    new Option('--profile <durability>', 'as DURABILITY').choices(['safe', 'fast']).default('safe'),
  )
  .option('--write', 'keep the result in chaos/results')
  .parse();
const options = program.opts<{
  runs: number;
  seed: number;
  buyers: number;
  atOnce: number;
  profile: Durability;
  write?: true;
}>();

const { stopping, logsOf, forgetLogsOf } = openWorkplace();
const completed: CompletedRun[] = [];
let nextSeed = options.seed;

const servers = await Promise.all(Array.from({ length: options.atOnce }, () => startPostgres()));
try {
  await Promise.all(servers.map(runOneAfterTheOther));
  completed.sort((a, b) => a.report.seed - b.report.seed);
  printSummary(completed);
  if (options.write) await writeResult(completed, { ...options, postgresUrl: servers[0]!.url });
} finally {
  await Promise.all(servers.map((postgres) => postgres.stop()));
}
process.exit(completed.every(({ report }) => report.violations.length === 0) ? 0 : 1);

/** PostgreSQL is killed too, so whoever runs at the same time has another one. */
async function runOneAfterTheOther(postgres: TestPostgres): Promise<void> {
  while (nextSeed < options.seed + options.runs && !stopping.aborted) {
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
      },
      scenario,
    );
    completed.push({ report, schedule });
    printRun(report, schedule.length);
    if (report.violations.length === 0) forgetLogsOf(String(seed));
    else printViolations(report);
  }
}

/** With odd seeds Redis keeps its memory, so that nothing at all that was acknowledged may be missing. */
function memoryFaultsOf(seed: number): readonly MemoryFaultKind[] {
  return seed % 2 === 1 ? [] : MEMORY_FAULTS[options.profile];
}

function printRun(report: RunReport, faults: number): void {
  const { seed, seconds, restSeconds, violations, reservations, lost } = report;
  const answers = Object.values(report.answers).reduce((sum, count) => sum + count, 0);
  const verdict = violations.length === 0 ? 'ok' : `${violations.length} VIOLATIONS`;
  console.log(
    `seed ${seed}  ${verdict}  ${faults} faults  ${answers} requests  ${reservations} reservations${lost > 0 ? ` (${lost} more lost with Redis)` : ''}  at rest after ${restSeconds.toFixed(1)} s  ${seconds.toFixed(1)} s`,
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

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Give a whole number from 1 on.');
  return value;
}
