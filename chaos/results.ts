/** What many runs together have shown: what was done to the stack how often, and how clients were answered. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Table from 'cli-table3';
import { codeVersions, machine, serverVersions } from '../bench/machine.ts';
import { startRedis } from '../test/support/servers.ts';
import type { RunReport } from './run.ts';
import type { PlannedFault } from './schedule.ts';
import type { Durability } from './stack.ts';

export interface CompletedRun {
  report: RunReport;
  schedule: readonly PlannedFault[];
}

export interface ResultChoices {
  seed: number;
  buyers: number;
  atOnce: number;
  profile: Durability;
  /** Of a server that the runs have used. */
  postgresUrl: string;
}

export function printSummary(completed: readonly CompletedRun[]): void {
  for (const [title, counts] of [
    ['what was done', countFaults(completed)],
    ['answers', countAnswers(completed)],
  ] as const) {
    const table = new Table({ head: [title, 'times'], style: { head: [], border: [] } });
    table.push(...Object.entries(counts).map(([name, count]) => [name, count]));
    console.log(table.toString());
  }
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
  const redis = await startRedis();
  const servers = await serverVersions({ redisUrl: redis.url, postgresUrl: choices.postgresUrl });
  await redis.stop();
  const rests = reports.map(({ restSeconds }) => restSeconds).sort((a, b) => a - b);
  const result = {
    machine: machine(
      'the engine, Redis, PostgreSQL, the proxies and the clients share these cores',
    ),
    versions: { ...codeVersions(), ...servers },
    profile: choices.profile,
    seeds: { first: choices.seed, runs: completed.length },
    buyersPerRun: choices.buyers,
    runsAtOnce: choices.atOnce,
    seconds: Math.round(sum(({ seconds }) => seconds)),
    runsWithoutViolation: reports.filter(({ violations }) => violations.length === 0).length,
    violations: countViolations(reports),
    reservations: sum(({ reservations }) => reservations),
    events: sum(({ events }) => events),
    /** Acknowledged, not yet in PostgreSQL, and forgotten by a Redis that lost everything: the stated window. */
    lostReservations: sum(({ lost }) => lost),
    /** From the last fault and the last answer until nothing was held and everything was in PostgreSQL. */
    restSeconds: { p50: rests[rests.length >> 1], max: rests.at(-1) },
    faults: countFaults(completed),
    lostOnLinks: {
      requests: sum(({ lostOnLinks }) => lostOnLinks.requests),
      replies: sum(({ lostOnLinks }) => lostOnLinks.replies),
    },
    answers: countAnswers(completed),
  };
  const directory = join(import.meta.dirname, 'results');
  await mkdir(directory, { recursive: true });
  const path = join(directory, `${choices.profile}.json`);
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`The result is in ${path}`);
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

function countFaults(completed: readonly CompletedRun[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { schedule } of completed) {
    for (const { kind, target, request } of schedule) {
      const what = request === undefined ? kind : `${kind} (${request})`;
      const name = `${what} ${target.replaceAll(/-\d/g, '')}`;
      counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return sorted(counts);
}

function countAnswers(completed: readonly CompletedRun[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { report } of completed) {
    for (const [name, count] of Object.entries(report.answers)) {
      counts[name] = (counts[name] ?? 0) + count;
    }
  }
  return sorted(counts);
}

function sorted(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}
