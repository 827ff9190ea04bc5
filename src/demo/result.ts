/**
 * The demo's result: what was promised beside what came of it, as tables for people.
 */
import Table from 'cli-table3';
import type { Histogram } from 'hdr-histogram-js';
import type { DurableRows } from './durable-rows.ts';
import type { Check, Verdict } from './operator.ts';
import { SOLD_OUT, type Tally } from './tally.ts';

export interface DemoResult {
  saleId: string;
  buyers: number;
  units: number;
  tally: Tally;
  durable: DurableRows;
  verdict: Verdict;
}

/** What the demo itself counted, over HTTP and in PostgreSQL; the engine's own verdict comes beside it. */
export function checksOf({ buyers, units, tally, durable }: DemoResult): Check[] {
  const winners = Math.min(units, buyers);
  return [
    checkCount('buyers who were told yes', winners, tally.accepted),
    checkCount('buyers who were told sold_out', buyers - winners, tally.count(SOLD_OUT)),
    checkCount('rows in PostgreSQL', winners, durable.rows),
    checkCount('distinct buyers in PostgreSQL', winners, durable.distinctBuyers),
    checkCount('buyers with more than they may have', 0, durable.rows - durable.distinctBuyers),
  ];
}

function checkCount(name: string, expected: number, actual: number): Check {
  return { name, ok: expected === actual, expected, actual };
}

export function everyPromiseHeld(result: DemoResult): boolean {
  return result.verdict.ok && checksOf(result).every(({ ok }) => ok);
}

export function describeResult(result: DemoResult): string {
  const { tally, durable, verdict, buyers } = result;
  return [
    answersTable(tally),
    `${buyers} buyers answered in ${seconds(tally.durationMs)}, ${tally.retries} retries.`,
    durability(durable),
    checksTable('counted by this demo', checksOf(result)),
    checksTable('found by flash-sale verify', verdict.checks),
    everyPromiseHeld(result) ? 'Every promise held.' : 'NOT every promise held.',
  ].join('\n');
}

function answersTable(tally: Tally): string {
  const table = plainTable(['answer', 'buyers', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms']);
  for (const [answer, latencyUs] of [...tally.latencyUs].sort(([a], [b]) => a.localeCompare(b))) {
    table.push([answer, latencyUs.totalCount, ...latencies(latencyUs)]);
  }
  return table.toString();
}

function latencies(latencyUs: Histogram): string[] {
  return [50, 95, 99, 100].map((percentile) =>
    (latencyUs.getValueAtPercentile(percentile) / 1_000).toFixed(2),
  );
}

/** What was expected is shown where it is not what came. */
function checksTable(title: string, checks: readonly Check[]): string {
  const table = plainTable([title, '', '']);
  for (const { name, expected, actual, ok } of checks) {
    const finding = ok ? shown(actual) : `${shown(actual)}; expected: ${shown(expected)}`;
    table.push([name, finding, ok ? 'ok' : 'BROKEN']);
  }
  return table.toString();
}

/** Without colours and rules between rows, so that it reads the same in a terminal, a file and a pipe. */
function plainTable(head: string[]): Table.Table {
  const chars = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  return new Table({ head, chars, style: { head: [], border: [] } });
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function durability({ waitedMs, slowestRowMs }: DurableRows): string {
  if (waitedMs === undefined) return 'PostgreSQL did not get every row in time.';
  return `The last row was durable in PostgreSQL ${seconds(waitedMs)} after the last yes (slowest row ${seconds(slowestRowMs)} after its decision).`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(3)} s`;
}
