/** The result of the demo: expected and actual counts as text tables. */
import Table from 'cli-table3';
import type { Histogram } from 'hdr-histogram-js';
import type { DurableRows } from './durable-rows.ts';
import type { Check, VerifyReport } from './operator.ts';
import { type Settlement, settledOf } from './settlement.ts';
import { SOLD_OUT, type Tally } from './tally.ts';

export interface DemoResult {
  saleId: string;
  buyers: number;
  units: number;
  tally: Tally;
  durable: DurableRows;
  /** With `--checkout` only. */
  settlement: Settlement | undefined;
  verification: VerifyReport;
}

/** Checks the demo's own counts, over HTTP and in PostgreSQL, independently of the engine's verification. */
function checksOf({ buyers, units, tally, durable, settlement }: DemoResult): Check[] {
  const soldAtFirst = Math.min(units, buyers);
  // A refused payment returns a unit, which another buyer of the crowd can get.
  const winners = settlement ? Math.max(soldAtFirst, tally.accepted) : soldAtFirst;
  return [
    checkCount('buyers with a reservation', winners, tally.accepted),
    checkCount('buyers with sold_out', buyers - winners, tally.count(SOLD_OUT)),
    checkCount('rows in PostgreSQL', winners, durable.rows),
    checkCount('distinct buyers in PostgreSQL', winners, durable.distinctBuyers),
    checkCount('reservations beyond the limit per buyer', 0, durable.rows - durable.distinctBuyers),
  ];
}

/** Checks the final states of the reservations. Each is one unit, so reservations and units have the same count. */
function settlementChecksOf({ rows, stock }: Settlement, result: DemoResult): Check[] {
  const { units, tally } = result;
  const settled = settledOf(rows);
  return [
    checkCount('reserved', tally.accepted, rows.reserved + settled),
    {
      name: 'confirmed: paid',
      ok: rows.confirmed > 0 && rows.confirmed <= units,
      expected: `1 to ${units}`,
      actual: rows.confirmed,
    },
    { name: 'cancelled: payment refused', ok: true, expected: '', actual: rows.cancelled },
    { name: 'expired: never paid', ok: true, expected: '', actual: rows.expired },
    checkCount('confirmed + cancelled + expired', tally.accepted, settled),
    checkCount('confirmed in Redis', rows.confirmed, stock.confirmed),
    checkCount('held in Redis', 0, stock.held),
    checkCount('remaining: units − confirmed', units - rows.confirmed, stock.remaining),
  ];
}

function checkCount(name: string, expected: number, actual: number): Check {
  return { name, ok: expected === actual, expected, actual };
}

export function everyPromiseHeld(result: DemoResult): boolean {
  return result.verification.ok && ownChecksOf(result).every(({ ok }) => ok);
}

function ownChecksOf(result: DemoResult): Check[] {
  const { settlement } = result;
  return [...checksOf(result), ...(settlement ? settlementChecksOf(settlement, result) : [])];
}

export function describeResult(result: DemoResult): string {
  const { tally, durable, settlement, verification, buyers } = result;
  return [
    responsesTable(tally),
    `${buyers} buyers served in ${seconds(tally.durationMs)}, ${tally.retries} retries.`,
    durability(durable),
    checksTable('counted by this demo', checksOf(result)),
    ...(settlement
      ? [
          checksTable('final states of the reservations', settlementChecksOf(settlement, result)),
          describePayments(settlement),
        ]
      : []),
    describeChecks(verification.checks),
    everyPromiseHeld(result) ? 'Every promise held.' : 'NOT every promise held.',
  ].join('\n');
}

/** What the engine's verification found. */
export function describeChecks(checks: readonly Check[]): string {
  return checksTable('found by flash-sale verify', checks);
}

function responsesTable(tally: Tally): string {
  const table = plainTable(['response', 'buyers', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms']);
  for (const [response, latencyUs] of [...tally.latencyUs].sort(([a], [b]) => a.localeCompare(b))) {
    table.push([response, latencyUs.totalCount, ...latencies(latencyUs)]);
  }
  return table.toString();
}

function latencies(latencyUs: Histogram): string[] {
  return [50, 95, 99, 100].map((percentile) =>
    (latencyUs.getValueAtPercentile(percentile) / 1_000).toFixed(2),
  );
}

/** Shows the expected value of a failed check only. */
function checksTable(title: string, checks: readonly Check[]): string {
  const table = plainTable([title, '', '']);
  for (const { name, expected, actual, ok } of checks) {
    const finding = ok ? shown(actual) : `${shown(actual)}; expected: ${shown(expected)}`;
    table.push([name, finding, ok ? 'ok' : 'BROKEN']);
  }
  return table.toString();
}

/** Without colours and rules between rows, so that it looks the same in a terminal, a file and a pipe. */
function plainTable(head: string[]): Table.Table {
  const chars = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  return new Table({ head, chars, style: { head: [], border: [] } });
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function durability({ waitedMs, slowestRowMs }: DurableRows): string {
  if (waitedMs === undefined) return 'PostgreSQL did not get every row in time.';
  return `The last row was durable in PostgreSQL ${seconds(waitedMs)} after the last acceptance (slowest row ${seconds(slowestRowMs)} after its decision).`;
}

function describePayments({ payments, durationMs }: Settlement): string {
  const all = `All reservations were settled ${seconds(durationMs)} after the last row.`;
  if (!payments) return all;
  const { extended, refunded, abandoned } = payments;
  return `${all} The shop extended ${extended} holds, refunded ${refunded} late payments, and lost ${abandoned} shoppers who never paid.`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(3)} s`;
}
