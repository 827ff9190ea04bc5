/** Scenarios that measure one thing at several points of one line; the points take turns as contestants do elsewhere. */
import { type Comparison, type Figures, takeTurns } from '../rounds.ts';
import type { BenchOptions, Measured, Scenario } from '../scenario.ts';
import { openStage, type Stage, type StageChoices } from '../testbed.ts';

export interface Growth {
  /** As it is typed. */
  name: string;
  title: string;
  /** What grows, as it stands at the axis and after each number. */
  by: string;
  points(): readonly number[];
  stage: Omit<StageChoices, 'stopping'>;
  /** Once, before the turns; the function that it returns measures one point. */
  begin(stage: Stage, options: BenchOptions): Promise<(point: number) => Promise<Figures>>;
  settings: Record<string, string | number>;
  /** What is told as a ratio of the last point to the first. */
  ratios: readonly { what: string; metric: string }[];
}

export function growth(chosen: Growth): Scenario {
  const { name, title, by, stage: choices, settings, ratios } = chosen;
  return {
    name,
    title,
    async run(options): Promise<Measured> {
      const points = chosen.points();
      const at = Object.fromEntries(points.map((point) => [nameOf(point, by), point]));
      const stage = await openStage({ ...choices, stopping: options.stopping });
      try {
        const measure = await chosen.begin(stage, options);
        const rounds = await takeTurns(options, Object.keys(at), (each) => measure(at[each]!));
        const [first, last] = [points[0]!, points.at(-1)!];
        const comparisons: Comparison[] = ratios.map(({ what, metric }) => ({
          what: `${what}, ${nameOf(last, by)} ÷ ${grouped(first)}`,
          metric,
          of: nameOf(last, by),
          over: nameOf(first, by),
        }));
        return {
          settings: { ...settings, durability: stage.durability },
          rounds,
          comparisons,
          growth: { by, at },
        };
      } finally {
        await stage.close();
      }
    },
  };
}

function nameOf(point: number, by: string): string {
  return `${grouped(point)} ${by}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-GB');
}
