/**
 * The chaos suite: `npm run chaos -- --runs 200 --seed 1`. Each run sells on the real stack while a schedule drawn
 * from its seed kills and freezes processes and cuts connections. Then a checker compares the responses of clients
 * with Redis and PostgreSQL. Exits 1 when a run breaks a promise, and keeps the logs of that run.
 */
import { Option } from 'commander';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { WRITE_OPTION } from '../harness/command/result-files.ts';
import { type TestPostgres, usePostgres } from '../harness/servers/postgres.ts';
import { valkeyCommand } from '../harness/servers/valkey.ts';
import { MAIN_MODULE } from '../src/process/supervisor/supervised-process.ts';
import { type DataLossKind, describeFault } from './faults/schedule.ts';
import { type CompletedRun, printSummary, writeResult } from './results.ts';
import { openRunLogs, type RunReport, run } from './run.ts';
import { seededScenario } from './seeded-scenario.ts';
import type { Durability } from './stack.ts';
import { TOPOLOGIES, type TopologyName } from './topologies/topology.ts';

/** A failed run can have a thousand violations; these of each kind are enough to start with. */
const SHOWN_OF_KIND = 4;
const REST_MS_MAX = 60_000;
const WINDOW_MS = 5_000;
const FAULTS = { least: 6, most: 14 };
/** It takes some seconds, and the schedule's other faults of PostgreSQL wait for it. */
const COPY_CHANCE = 0.25;
const ARCHIVE_CHANCE = 0.4;
const RESTORE_CHANCE = 0.4;
/** Under `safe` Redis loses nothing that it has acknowledged, unless it loses everything. */
const DATA_LOSSES: Record<Durability, readonly DataLossKind[]> = {
  safe: ['flush', 'lose-disk'],
  fast: ['flush', 'lose-disk', 'lose-tail'],
  replicated: [],
};
/** Servers that replicate lose decisions only when a master is replaced: a replica copies a flush. */
const PROFILES: Record<TopologyName, readonly Durability[]> = {
  single: ['safe', 'fast'],
  cluster: ['replicated', 'fast'],
  sentinel: ['replicated', 'fast'],
};

const program = command(
  'chaos',
  'Sells on the real stack while faults are injected, and checks every promise. Exits 1 on a violation.',
)
  .option('--runs <count>', 'with consecutive seeds', wholeNumber, 20)
  .option('--seed <number>', 'of the first run', wholeNumber, 1)
  .option('--buyers <count>', 'in each run', wholeNumber, 2_000)
  .option('--at-once <count>', 'runs in parallel, each with its own servers', wholeNumber, 1)
  .addOption(
    new Option('--topology <name>', 'of the Redis servers').choices(TOPOLOGIES).default('single'),
  )
  .addOption(
    new Option('--server <program>', 'of these servers')
      .choices(['redis', 'valkey'])
      .default('redis'),
  )
  .addOption(
    new Option(
      '--profile <durability>',
      'the DURABILITY of the engine: safe or fast with a single server, otherwise replicated or fast',
    ).choices(['safe', 'fast', 'replicated']),
  )
  .option(...WRITE_OPTION)
  .parse();
const { profile: chosenProfile, ...options } = program.opts<{
  runs: number;
  seed: number;
  buyers: number;
  atOnce: number;
  topology: TopologyName;
  server: 'redis' | 'valkey';
  profile?: Durability;
  write?: boolean;
}>();
const profiles = PROFILES[options.topology];
const profile = chosenProfile ?? profiles[0]!;
if (!profiles.includes(profile)) {
  program.error(
    `error: --profile ${profile} is not for --topology ${options.topology}, which has ${profiles.join(' and ')}`,
  );
}
const redisCommand = options.server === 'valkey' ? valkeyCommand() : undefined;
/** Redis' allocator does not allow it. */
const hasClocks = options.server === 'valkey';

const { logsOf, forgetLogsOf } = openRunLogs();
const completed: CompletedRun[] = [];
const session = openCommandSession({ reportProgress });
const { stopping } = session;
let nextSeed = options.seed;

const servers = await Promise.all(
  Array.from({ length: options.atOnce }, () => usePostgres(session)),
);
try {
  const lanes = servers.map(runInSequence);
  session.after(() => Promise.allSettled(lanes));
  await Promise.all(lanes);
  completed.sort((a, b) => a.report.seed - b.report.seed);
  printSummary(completed);
  await writeResult(completed, {
    ...options,
    profile,
    redisCommand,
    postgresUrl: servers[0]!.url,
  });
} finally {
  await session.close();
}
process.exit(completed.every(({ report }) => report.violations.length === 0) ? 0 : 1);

/** Faults also kill PostgreSQL, so runs in parallel have one each. */
async function runInSequence(postgres: TestPostgres): Promise<void> {
  while (nextSeed < options.seed + options.runs) {
    const seed = nextSeed++;
    const { scenario, schedule } = seededScenario({
      seed,
      topology: options.topology,
      hasClocks,
      buyers: options.buyers,
      windowMs: WINDOW_MS,
      faults: FAULTS,
      dataLosses: dataLossesOf(seed),
      copyChance: COPY_CHANCE,
      archiveChance: ARCHIVE_CHANCE,
      restoreChance: canRestore(seed) ? RESTORE_CHANCE : 0,
    });
    if (options.runs === 1) for (const fault of schedule) console.log(describeFault(fault));
    const report = await run(
      {
        seed,
        mainModule: MAIN_MODULE,
        durability: profile,
        topology: options.topology,
        redisCommand,
        hasClocks,
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

function reportProgress(): void {
  if (completed.length > 0) printSummary(completed);
}

/** With odd seeds Redis keeps its data, so that no acknowledged reservation may be missing. */
function keepsData(seed: number): boolean {
  return seed % 2 === 1;
}

/** Otherwise a backup and Redis together could lack what was acknowledged. */
function canRestore(seed: number): boolean {
  return profile === 'replicated' || (profile === 'safe' && keepsData(seed));
}

function dataLossesOf(seed: number): readonly DataLossKind[] {
  return keepsData(seed) || options.topology !== 'single' ? [] : DATA_LOSSES[profile];
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
  for (const [kind, ofKind] of Map.groupBy(violations, (each) => each.kind)) {
    for (const { evidence } of ofKind.slice(0, SHOWN_OF_KIND)) {
      console.log(`    ${kind}: ${evidence}`);
    }
  }
  const { topology, server, buyers } = options;
  const again = `npm run chaos -- --runs 1 --seed ${seed} --topology ${topology} --server ${server} --profile ${profile} --buyers ${buyers}`;
  console.log(`    ${violations.length} violations; repeat: ${again}`);
  console.log(`    logs: ${logsOf(String(seed))}`);
}
