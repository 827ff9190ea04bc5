/** Results as Markdown, printed and put between two markers of a document. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ScenarioResult } from './results.ts';
import type { Compared } from './rounds.ts';

const REPOSITORY = join(import.meta.dirname, '..');

/** How each metric of a scenario is called and written. */
const METRICS: Record<string, { title: string; show: (value: number) => string }> = {
  perSecond: { title: 'a second', show: grouped },
  p99Ms: { title: 'p99', show: (value) => `${short(value)} ms` },
  p50Micros: { title: 'p50', show: micros },
  p99Micros: { title: 'p99', show: micros },
  rowsPerSecond: { title: 'rows a second', show: grouped },
  refusalsPerSecond: { title: 'refusals a second', show: grouped },
  hereShare: { title: 'without Redis', show: percent },
  refusalMicros: { title: 'CPU of the server a refusal', show: micros },
  knownMs: { title: 'until who has something is known', show: (value) => `${short(value)} ms` },
  redisRefusalMicros: { title: 'CPU of Redis a refusal until then', show: micros },
  holderMicros: { title: 'CPU of Redis a buyer read', show: micros },
  seconds: { title: 'until everybody has an answer', show: (value) => `${short(value)} s` },
  cpuSeconds: { title: 'CPU of the front end', show: (value) => `${short(value)} s` },
  bytesEach: { title: 'bytes each', show: grouped },
  serverMicros: { title: 'CPU of the server each', show: micros },
  serverCpuShare: { title: 'of a core', show: percent },
  wrkCpuShare: { title: 'wrk, of a core', show: percent },
  redisMicros: { title: 'CPU of Redis each', show: micros },
  buyersPerCall: { title: 'buyers a call', show: short },
  bytesPerRequest: { title: 'bytes a request', show: grouped },
  bytesPerAnswer: { title: 'bytes an answer', show: grouped },
};

/** Every comparison there is, the bars first. */
export function comparisonTable(results: readonly ScenarioResult[]): string {
  const rows = results.flatMap(({ title, comparisons }) =>
    comparisons.map((each, index) => [
      index === 0 ? title : '',
      each.what,
      `**${shown(each, each.median)}**`,
      `${shown(each, each.low)} – ${shown(each, each.high)}`,
      barOf(each),
    ]),
  );
  return table(['', 'what', 'median', 'quartiles', 'bar'], rows);
}

/** Only what has a bar, for a reader who has a minute. */
export function barTable(results: readonly ScenarioResult[]): string {
  const withBars = results.map((each) => ({
    ...each,
    comparisons: each.comparisons.filter(({ ok }) => ok !== undefined),
  }));
  return comparisonTable(withBars);
}

/** One table a scenario, under its title. */
export function figureTables(results: readonly ScenarioResult[]): string {
  return results
    .filter(({ figures }) => Object.keys(figures).length > 0)
    .map((each) => `### ${each.title}\n\n${figureTable(each)}`)
    .join('\n\n');
}

/** What each contestant of a scenario did. */
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

/** Where, when and of what these were measured; one line for all that agree. */
export function conditionLines(results: readonly ScenarioResult[]): string {
  const measured = results.filter(({ rounds }) => rounds > 0);
  const lines = measured.map(({ machine, versions, rounds, secondsEach }) => {
    const { cpu, cores, memoryGiB, kernel } = machine;
    const { date, commit, ...programs } = versions;
    const of = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
    return `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${kernel}; ${of.join(', ')}; commit ${commit}, ${date.slice(0, 10)}; ${rounds} rounds of ${secondsEach} s.`;
  });
  return [...new Set(lines)].join('\n\n');
}

/** Between `<!-- name -->` and `<!-- /name -->`; a document without them is left as it is, and false. */
export async function putBetweenMarkers(
  document: string,
  name: string,
  text: string,
): Promise<boolean> {
  const path = join(REPOSITORY, document);
  const before = await readFile(path, 'utf8');
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [before.indexOf(open), before.indexOf(close)];
  if (from < 0 || to < from) return false;
  const after = `${before.slice(0, from + open.length)}\n\n${text}\n\n${before.slice(to)}`;
  await writeFile(path, after);
  return true;
}

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function barOf({ atLeast, atMost, ok, ...each }: Compared): string {
  if (ok === undefined) return '';
  const verdict = ok ? '' : ', **missed**';
  const bar = atLeast === undefined ? `≤ ${shown(each, atMost!)}` : `≥ ${shown(each, atLeast)}`;
  return `${bar}${verdict}`;
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
