/** Results as Markdown tables. */

import type { Compared } from '../measure/rounds.ts';
import type { ScenarioResult } from './results.ts';

/** Title and format of each metric. */
const METRICS: Record<string, { title: string; show: (value: number) => string }> = {
  perSecond: { title: 'per second', show: grouped },
  p99Ms: { title: 'p99', show: (value) => `${short(value)} ms` },
  p50Micros: { title: 'p50', show: micros },
  p99Micros: { title: 'p99', show: micros },
  rowsPerSecond: { title: 'rows per second', show: grouped },
  refusalsPerSecond: { title: 'refusals per second', show: grouped },
  localShare: { title: 'refused without Redis', show: percent },
  refusalMicros: { title: 'server CPU per refusal', show: micros },
  knownMs: { title: 'until every holder is known', show: (value) => `${short(value)} ms` },
  lateKnownMs: { title: 'on a late hot path', show: (value) => `${short(value)} ms` },
  redisRefusalMicros: { title: 'Redis CPU per refusal until then', show: micros },
  holderMicros: { title: 'Redis CPU per holder read', show: micros },
  seconds: { title: 'until every buyer has a response', show: (value) => `${short(value)} s` },
  cpuSeconds: { title: 'hot path CPU', show: (value) => `${short(value)} s` },
  bytesEach: { title: 'bytes per reservation', show: grouped },
  serverMicros: { title: 'server CPU per request', show: micros },
  serverCpuShare: { title: 'server, share of a core', show: percent },
  wrkCpuShare: { title: 'wrk, share of a core', show: percent },
  redisMicros: { title: 'Redis CPU per request', show: micros },
  buyersPerCall: { title: 'buyers per call', show: short },
  bytesPerRequest: { title: 'bytes per request', show: grouped },
  bytesPerResponse: { title: 'bytes per response', show: grouped },
};

/** Every comparison. */
export function comparisonTable(results: readonly ScenarioResult[]): string {
  const rows = results.flatMap(({ title, comparisons }) =>
    comparisons.map((each, index) => [index === 0 ? title : '', each.what, ...valuesOf(each)]),
  );
  return table(['', 'what', 'median', 'quartiles', 'target'], rows);
}

function valuesOf(each: Compared): string[] {
  return [
    `**${shown(each, each.median)}**`,
    `${shown(each, each.low)} – ${shown(each, each.high)}`,
    statusAfter(each),
  ];
}

/** The rows of the README. Of several comparisons that match, the worst stands for all. */
const SUMMARY_ROWS = [
  { scenario: 'refusal', what: /÷ conventional/, label: 'Refusals per second ÷ conventional' },
  { scenario: 'refusal', what: /÷ ceiling/, label: 'Refusals per second ÷ ceiling' },
  { scenario: 'crowd', what: /^p99/, label: 'p99 of a refusal over 10,000 connections ÷ ceiling' },
  { scenario: 'win', what: /^wins.*÷ ceiling/, label: 'Wins per second ÷ ceiling' },
  { scenario: 'durable', what: /÷ conventional/, label: 'Durable wins per second ÷ conventional' },
  { scenario: 'lag', what: /p99/, label: 'From a reservation to its durable row, p99' },
  { scenario: 'memory', what: /without/, label: 'Redis memory per reservation' },
  {
    scenario: 'failures',
    what: /^p99/,
    label: 'p99 of a purchase while another part fails (the worst of three) ÷ normal',
  },
] as const;

/** The figures that matter to a user. */
export function summaryTable(results: readonly ScenarioResult[]): string {
  const rows = SUMMARY_ROWS.flatMap(({ scenario, what, label }) => {
    const found = results.find(({ name }) => name === scenario)?.comparisons ?? [];
    const [worst] = found
      .filter((each) => what.test(each.what))
      .toSorted((a, b) => b.median - a.median);
    return worst ? [[label, ...valuesOf(worst)]] : [];
  });
  return table(['', 'median', 'quartiles', 'target'], rows);
}

/** A table of figures per scenario. */
export function figureTables(results: readonly ScenarioResult[]): string {
  return results
    .filter(({ figures }) => Object.keys(figures).length > 0)
    .map((each) => `### ${each.title}\n\n${figureTable(each)}`)
    .join('\n\n');
}

/** The figures of each contestant. */
export function figureTable({ figures }: ScenarioResult): string {
  const contestants = Object.keys(figures);
  const metrics = Object.keys(METRICS).filter((metric) =>
    contestants.some((name) => figures[name]![metric]),
  );
  const rows = contestants.map((name) => [
    name,
    ...metrics.map((metric) => {
      const spread = figures[name]![metric];
      return spread ? METRICS[metric]!.show(spread.median) : '';
    }),
  ]);
  return table(['', ...metrics.map((metric) => METRICS[metric]!.title)], rows);
}

/** The machine, versions and date of the results; equal ones once. */
export function conditionLines(results: readonly ScenarioResult[]): string {
  const measured = results.filter(({ rounds }) => rounds > 0);
  const lines = measured.map(({ machine, versions, rounds, secondsEach }) => {
    const { cpu, cores, memoryGiB, kernel } = machine;
    const { date, commit, ...programs } = versions;
    const of = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
    return `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${kernel}; ${of.join(', ')}; commit ${commit}, ${date.slice(0, 10)}; ${rounds} ${rounds === 1 ? 'round' : 'rounds'} of ${secondsEach} s.`;
  });
  return [...new Set(lines)].join('\n\n');
}

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function statusAfter({ atLeast, atMost, ok, ...each }: Compared): string {
  if (ok === undefined) return '';
  const verdict = ok ? '' : ', **missed**';
  const target = atLeast === undefined ? `≤ ${shown(each, atMost!)}` : `≥ ${shown(each, atLeast)}`;
  return `${target}${verdict}`;
}

function shown({ over, unit }: Pick<Compared, 'over' | 'unit'>, value: number): string {
  if (over === undefined) return `${short(value)}${unit ? ` ${unit}` : ''}`;
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function short(value: number): string {
  return value >= 1_000 ? grouped(value) : String(Number(value.toPrecision(3)));
}

export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-GB');
}

function micros(value: number): string {
  return `${short(value)} µs`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
