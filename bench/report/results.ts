/** Recorded results: one entry per scenario, with the machine, the versions and the date. */
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { codeVersions, machine } from '../../harness/command/machine.ts';
import { readableJson, resultDirectory } from '../../harness/command/result-files.ts';
import { type Compared, compare, type Round, type Spread, spreadOf } from '../measure/rounds.ts';
import type { Measured, Scenario } from '../measure/scenario.ts';

const RESULTS = join(import.meta.dirname, '../results');

export interface ScenarioResult {
  name: string;
  title: string;
  machine: ReturnType<typeof machine>;
  versions: ReturnType<typeof codeVersions> & Record<string, string>;
  rounds: number;
  secondsEach: number;
  settings: Record<string, string | number>;
  comparisons: Compared[];
  /** Contestant → metric → median and quartiles of the rounds. */
  figures: Record<string, Record<string, Spread>>;
  curves?: Record<string, [number, number][]>;
  growth?: Measured['growth'];
  timeline?: Measured['timeline'];
}

export function resultOf(
  { name, title }: Scenario,
  measured: Measured,
  conditions: Pick<ScenarioResult, 'machine' | 'versions' | 'secondsEach'>,
): ScenarioResult {
  const { rounds, comparisons, settings, curves, growth, timeline } = measured;
  return {
    name,
    title,
    ...conditions,
    rounds: rounds.length,
    settings,
    comparisons: comparisons.map((comparison) => rounded(compare(rounds, comparison))),
    figures: figuresOf(rounds),
    ...(curves ? { curves } : {}),
    ...(growth ? { growth } : {}),
    ...(timeline ? { timeline } : {}),
  };
}

/**
 * Records results in place of earlier ones of the same scenarios; without `write` in a new directory. Returns the
 * directory.
 */
export async function record(
  file: string,
  found: readonly ScenarioResult[],
  choices: { write?: boolean },
): Promise<string> {
  const directory = resultDirectory(RESULTS, choices);
  const names = found.map(({ name }) => name);
  const kept = choices.write ? readResults(file).filter(({ name }) => !names.includes(name)) : [];
  await writeFile(join(directory, file), `${readableJson([...kept, ...found])}\n`);
  return directory;
}

export function readResults(file: string): ScenarioResult[] {
  const path = join(RESULTS, file);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as ScenarioResult[]) : [];
}

function figuresOf(rounds: readonly Round[]): ScenarioResult['figures'] {
  const figures: ScenarioResult['figures'] = {};
  for (const [contestant, metrics] of Object.entries(rounds[0] ?? {})) {
    figures[contestant] = {};
    for (const metric of Object.keys(metrics)) {
      const values = rounds.map((round) => round[contestant]![metric]!);
      figures[contestant][metric] = rounded(spreadOf(values));
    }
  }
  return figures;
}

/** Four digits are all that was measured. */
function rounded<T extends Spread & { values?: number[] }>(spread: T): T {
  const short = (value: number) => Number(value.toPrecision(4));
  return {
    ...spread,
    median: short(spread.median),
    low: short(spread.low),
    high: short(spread.high),
    ...(spread.values ? { values: spread.values.map(short) } : {}),
  };
}
