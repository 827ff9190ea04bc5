/**
 * The type of a scenario, and checks that a measurement is valid. Each scenario is a file in scenarios/ or growth/.
 */
import type { Comparison, Round } from './rounds.ts';

export interface BenchOptions {
  rounds: number;
  /** Of load, per contestant and round. */
  seconds: number;
  stopping: AbortSignal;
  /** Reports progress, one line each. */
  report: (line: string) => void;
}

export interface Measured {
  /** Needed to repeat the measurement. */
  settings: Record<string, string | number>;
  rounds: Round[];
  comparisons: Comparison[];
  /** Latency by percentile, `[percent, ms]`, of the last round. */
  curves?: Record<string, [number, number][]>;
  /** Contestants that are points along one line: the unit of the line, and each contestant's value. */
  growth?: { by: string; at: Record<string, number> };
  /** The state of a whole sale over time, ms from its opening. */
  timeline?: { ms: number; decided: number; remaining: number; durable: number }[];
}

export interface Scenario {
  /** For `--only`. */
  name: string;
  /** For tables. */
  title: string;
  run(options: BenchOptions): Promise<Measured>;
}

/** Two equal responses may differ by some bytes in ids and times. */
const SIZE_DIFFERS_MAX = 0.03;

/** A bench that measures errors must not end with a number. Throws with `found` otherwise. */
export function expect(isSo: boolean, found: string): asserts isSo {
  if (!isSo) throw new Error(`the measurement is not valid: ${found}`);
}

/** The ceiling must return as much as the engine. */
export function expectSameSize(engineBytes: number, ceilingBytes: number): void {
  const difference = Math.abs(engineBytes / ceilingBytes - 1);
  expect(
    difference <= SIZE_DIFFERS_MAX,
    `the engine's responses have ${engineBytes} bytes, the ceiling's ${ceilingBytes}`,
  );
}
