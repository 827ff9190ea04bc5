/** The summary of many runs: how often each fault was injected, and how often each response was given. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Table from 'cli-table3';
import { putBetweenMarkers } from '../harness/command/documents.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepResult, resultDirectory } from '../harness/command/result-files.ts';
import { startRedis } from '../harness/servers/redis.ts';
import type { PlannedFault } from './faults/schedule.ts';
import type { RunReport } from './run.ts';
import type { Durability } from './stack.ts';
import { type ChaosResult, type FaultCount, survivalReport } from './survival-table.ts';
import type { TopologyName } from './topologies/topology.ts';

export interface CompletedRun {
  report: RunReport;
  schedule: readonly PlannedFault[];
}

export interface ResultChoices {
  seed: number;
  buyers: number;
  atOnce: number;
  topology: TopologyName;
  server: 'redis' | 'valkey';
  profile: Durability;
  redisCommand: string | undefined;
  /** A server that the runs have used. */
  postgresUrl: string;
  write?: boolean;
}

const RESULTS = join(import.meta.dirname, 'results');

export function printSummary(completed: readonly CompletedRun[]): void {
  const style = { head: [], border: [] };
  const faults = new Table({ head: ['fault', 'planned', 'took effect', 'master replaced'], style });
  const counts = countFaults(completed, nameOfFault);
  for (const [name, { planned, done, replaced = '' }] of Object.entries(counts)) {
    faults.push([name, planned, done, replaced]);
  }
  const responses = new Table({ head: ['responses', 'times'], style });
  responses.push(...Object.entries(countResponses(completed)));
  console.log(`${faults.toString()}\n${responses.toString()}`);
  const failed = completed.filter(({ report }) => report.violations.length > 0);
  console.log(
    `${completed.length - failed.length} of ${completed.length} runs kept every promise.${failed.length > 0 ? ` Not these seeds: ${failed.map(({ report }) => report.seed).join(', ')}` : ''}`,
  );
}

export async function writeResult(
  completed: readonly CompletedRun[],
  choices: ResultChoices,
): Promise<void> {
  const reports = completed.map(({ report }) => report);
  const sum = (pick: (report: RunReport) => number) =>
    reports.reduce((total, report) => total + pick(report), 0);
  const redis = await startRedis({ command: choices.redisCommand });
  const servers = await serverVersions({ redisUrl: redis.url, postgresUrl: choices.postgresUrl });
  await redis.stop();
  const rests = reports.map(({ restSeconds }) => restSeconds).sort((a, b) => a - b);
  const result: ChaosResult = {
    machine: machine(
      'the engine, Redis, PostgreSQL, the proxies and the clients share these cores',
    ),
    versions: { ...codeVersions(), ...servers },
    topology: choices.topology,
    server: choices.server,
    profile: choices.profile,
    seeds: { first: choices.seed, runs: completed.length },
    buyersPerRun: choices.buyers,
    runsAtOnce: choices.atOnce,
    seconds: Math.round(sum(({ seconds }) => seconds)),
    runsWithoutViolation: reports.filter(({ violations }) => violations.length === 0).length,
    violations: countViolations(reports),
    reservations: sum(({ reservations }) => reservations),
    events: sum(({ events }) => events),
    lostReservations: sum(({ lost }) => lost),
    restSeconds: { p50: rests[rests.length >> 1]!, max: rests.at(-1)! },
    faultsByKind: countFaults(completed, ({ kind }) => kind),
    faults: countFaults(completed, nameOfFault),
    responses: countResponses(completed),
  };
  const directory = resultDirectory(RESULTS, choices);
  await keepResult(directory, nameOfResult(choices), result);
  if (choices.write)
    await putBetweenMarkers('README.md', 'chaos', survivalReport(readChaosResults()));
}

/** All recorded results. */
export function readChaosResults(): ChaosResult[] {
  return readdirSync(RESULTS).map((file) => JSON.parse(readFileSync(join(RESULTS, file), 'utf8')));
}

/** `safe` is that of one Redis server; the others are such as `cluster-valkey-replicated`. */
function nameOfResult({ topology, server, profile }: ResultChoices): string {
  if (topology === 'single' && server === 'redis') return profile;
  return `${topology}-${server}-${profile}`;
}

function countViolations(reports: readonly RunReport[]): Record<string, number> {
  const kinds = reports.flatMap(({ violations }) => violations.map(({ kind }) => kind));
  return sorted(
    Object.fromEntries(
      Object.entries(Object.groupBy(kinds, (kind) => kind)).map(([kind, all]) => [
        kind,
        all.length,
      ]),
    ),
  );
}

function countFaults(
  completed: readonly CompletedRun[],
  nameFault: (fault: PlannedFault) => string,
): Record<string, FaultCount> {
  const counts: Record<string, FaultCount> = {};
  const countOf = (fault: PlannedFault) => (counts[nameFault(fault)] ??= { planned: 0, done: 0 });
  for (const { schedule, report } of completed) {
    for (const fault of schedule) countOf(fault).planned += 1;
    for (const fault of report.effectiveFaults) {
      const count = countOf(fault);
      count.done += 1;
      if (fault.replaced) count.replaced = (count.replaced ?? 0) + 1;
    }
  }
  return sorted(counts);
}

/** Without the numbers of hot paths and persisters. */
export function nameOfFault({ kind, target, request }: PlannedFault): string {
  const what = request === undefined ? kind : `${kind} (${request})`;
  return `${what} ${target.replaceAll(/-\d/g, '')}`;
}

function countResponses(completed: readonly CompletedRun[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { report } of completed) {
    for (const [name, count] of Object.entries(report.responses)) {
      counts[name] = (counts[name] ?? 0) + count;
    }
  }
  return sorted(counts);
}

function sorted<Count>(counts: Record<string, Count>): Record<string, Count> {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}
