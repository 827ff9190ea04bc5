/** What the benches without contestants report: percentiles, and targets that a run meets or misses. */
import { loadavg } from 'node:os';
import { quantile } from '../../harness/crowds/open-loop-load.ts';

export interface Target {
  name: string;
  value: number;
  /** The limit; `below` excludes it. */
  below?: number;
  atMost?: number;
  atLeast?: number;
  unit?: string;
  ok: boolean;
}

export function below(name: string, value: number, limit: number, unit: string): Target {
  return { name, value, below: limit, unit, ok: value < limit };
}

export function atMost(name: string, value: number, limit: number, unit?: string): Target {
  return { name, value, atMost: limit, ...(unit ? { unit } : {}), ok: value <= limit };
}

export function atLeast(name: string, value: number, limit: number): Target {
  return { name, value, atLeast: limit, ok: value >= limit };
}

/** Prints a line for each target. Sets the exit code 1 if one is missed. */
export function reportTargets(targets: readonly (Target | { name: string; ok: boolean })[]): void {
  for (const target of targets) {
    console.log(`${target.ok ? 'ok  ' : 'FAIL'}  ${target.name}${figuresOf(target)}`);
  }
  if (targets.some(({ ok }) => !ok)) process.exitCode = 1;
}

function figuresOf(target: Target | { name: string }): string {
  if (!('value' in target)) return '';
  const unit = target.unit ? ` ${target.unit}` : '';
  return `: ${target.value}${unit}, must be ${limitOf(target)}${unit}`;
}

function limitOf({ below: limit, atMost: most, atLeast: least }: Target): string {
  if (limit !== undefined) return `below ${limit}`;
  return most === undefined ? `at least ${least}` : `at most ${most}`;
}

export function percentiles(values: readonly number[]) {
  const at = (share: number) => rounded(quantile(values, share));
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

/** The load average before a run: other work on the machine delays what is measured. */
export function loadAverage(): number {
  return rounded(loadavg()[0]!);
}

/** To hundredths. */
function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
