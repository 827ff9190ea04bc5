/** What many runs together have shown: what was done to the stack how often, and how clients were answered. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Table from 'cli-table3';
import { codeVersions, machine } from '../bench/machine.ts';
import type { RunReport } from './run.ts';
import type { PlannedFault } from './schedule.ts';
import type { Durability } from './stack.ts';

export interface CompletedRun {
  report: RunReport;
  schedule: readonly PlannedFault[];
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
  choices: { seed: number; buyers: number; profile: Durability; postgresUrl: string },
): Promise<void> {
  const reports = completed.map(({ report }) => report);
  const sum = (pick: (report: RunReport) => number) =>
    reports.reduce((total, report) => total + pick(report), 0);
  const rests = reports.map(({ restSeconds }) => restSeconds).sort((a, b) => a - b);
  const result = {
    machine: machine(
      'the engine, Redis, PostgreSQL, the proxies and the clients share these cores',
    ),
    versions: codeVersions(),
    profile: choices.profile,
    seeds: { first: choices.seed, runs: completed.length },
    buyersPerRun: choices.buyers,
    seconds: Math.round(sum(({ seconds }) => seconds)),
    runsWithoutViolation: reports.filter(({ violations }) => violations.length === 0).length,
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
  const path = join(import.meta.dirname, 'results', `${choices.profile}.json`);
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`The result is in ${path}`);
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
