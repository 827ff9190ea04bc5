/** Scenarios that measure several points along one line. The points take turns as contestants do. */
import { type Comparison, type Figures, runRounds } from '../measure/rounds.ts';
import type { BenchOptions, Measured, Scenario } from '../measure/scenario.ts';
import { openTestbed, type Testbed, type TestbedChoices } from '../measure/testbed.ts';

export interface Growth {
  /** For `--only`. */
  name: string;
  title: string;
  /** What grows: the title of the axis, and the unit of each point. */
  by: string;
  points(): readonly number[];
  testbed: Omit<TestbedChoices, 'stopping'>;
  /** Called once, before the rounds. The returned function measures one point. */
  begin(testbed: Testbed, options: BenchOptions): Promise<(point: number) => Promise<Figures>>;
  settings: Record<string, string | number>;
  /** Reported as the ratio of the last point to the first. */
  ratios: readonly { what: string; metric: string }[];
}

export function growth(chosen: Growth): Scenario {
  const { name, title, by, testbed: choices, settings, ratios } = chosen;
  return {
    name,
    title,
    async run(options): Promise<Measured> {
      const points = chosen.points();
      const at = Object.fromEntries(points.map((point) => [nameOf(point, by), point]));
      const testbed = await openTestbed({ ...choices, stopping: options.stopping });
      try {
        const measure = await chosen.begin(testbed, options);
        const rounds = await runRounds(options, Object.keys(at), (each) => measure(at[each]!));
        const [first, last] = [points[0]!, points.at(-1)!];
        const comparisons: Comparison[] = ratios.map(({ what, metric }) => ({
          what: `${what}, ${nameOf(last, by)} ÷ ${grouped(first)}`,
          metric,
          of: nameOf(last, by),
          over: nameOf(first, by),
        }));
        return {
          settings: { ...settings, durability: testbed.durability },
          rounds,
          comparisons,
          growth: { by, at },
        };
      } finally {
        await testbed.close();
      }
    },
  };
}

function nameOf(point: number, by: string): string {
  return `${grouped(point)} ${point === 1 ? by.replace(/s\b/, '') : by}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-GB');
}
