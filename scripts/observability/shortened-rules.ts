/**
 * The rules with shorter times, so that an alert fires within seconds of its fault. Everything else stays: expressions,
 * labels, and the thresholds of rates, counts and latencies.
 *
 *   ranges such as [5m]        divided by FACTOR
 *   `for`                      divided by FACTOR
 *   ages of AGE_SECONDS_MIN or more, as in `…_seconds > 900`
 *                              divided by FACTOR
 */
import { type AlertRule, type RecordingRule, readRules } from './rules.ts';

export const FACTOR = 20;
const AGE_SECONDS_MIN = 30;
const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** By the name of its file. */
export function shortenedRules(): Record<string, object> {
  const recording = readRules<RecordingRule>('recording.yaml');
  const alerts = readRules<AlertRule>('alerts.yaml');
  return {
    'recording.yaml': {
      groups: recording.groups.map(({ name, rules }) => ({
        name,
        rules: rules.map((rule) => ({ ...rule, expr: shortenedExpression(rule.expr) })),
      })),
    },
    'alerts.yaml': {
      groups: alerts.groups.map(({ name, rules }) => ({
        name,
        rules: rules.map((rule) => ({
          ...rule,
          expr: shortenedExpression(rule.expr),
          for: shortenedDuration(rule.for),
        })),
      })),
    },
  };
}

function shortenedExpression(expr: string): string {
  return expr
    .replaceAll(/\[(\d+[smhd])\]/g, (_, range: string) => `[${shortenedDuration(range)}]`)
    .replace(/(_seconds\S*\s*>\s*)(\d+)$/, (whole, before: string, seconds: string) =>
      Number(seconds) < AGE_SECONDS_MIN ? whole : `${before}${Number(seconds) / FACTOR}`,
    );
}

function shortenedDuration(text: string): string {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? [];
  if (unit === undefined) throw new Error(`"${text}" is not a duration of one unit`);
  return `${(Number(count) * SECONDS[unit as keyof typeof SECONDS] * 1_000) / FACTOR}ms`;
}
