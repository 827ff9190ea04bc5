/** What a scenario is, for those who run them. Each is one file in scenarios/ or growth/. */
import type { Comparison, Round } from './rounds.ts';

export interface BenchOptions {
  rounds: number;
  /** Of load, for each contestant in each round. */
  seconds: number;
  stopping: AbortSignal;
  /** What is going on, a line each. */
  tell: (line: string) => void;
}

export interface Measured {
  /** What a reader has to know to measure the same. */
  settings: Record<string, string | number>;
  rounds: Round[];
  comparisons: Comparison[];
  /** Latency by percentile, `[percent, ms]`, of the last round. */
  curves?: Record<string, [number, number][]>;
  /** Where the contestants are points of one line: what it goes by, and where on it each of them is. */
  growth?: { by: string; at: Record<string, number> };
  /** Of a whole sale: what had happened by each moment, ms from its opening. */
  timeline?: { ms: number; decided: number; remaining: number; durable: number }[];
}

export interface Scenario {
  /** As it is typed. */
  name: string;
  /** As it stands in the table. */
  title: string;
  run(options: BenchOptions): Promise<Measured>;
}

/** Of two answers that ought to be the same; ids and times may differ by some bytes. */
const SIZE_DIFFERS_MAX = 0.03;

/** @throws when it is not so, with what was found instead. */
export function expect(isSo: boolean, found: string): asserts isSo {
  if (!isSo) throw new Error(`what was measured is not what was meant: ${found}`);
}

/** The ceiling has to answer as much as the engine does. */
export function expectSameSize(engineBytes: number, ceilingBytes: number): void {
  const difference = Math.abs(engineBytes / ceilingBytes - 1);
  expect(
    difference <= SIZE_DIFFERS_MAX,
    `the engine's answers have ${engineBytes} bytes, the ceiling's ${ceilingBytes}`,
  );
}
