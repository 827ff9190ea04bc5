/** The recording and alert rules of deploy/observability/, read as data, and what expressions consist of. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

export const RULES_DIRECTORY = join(import.meta.dirname, '../../deploy/observability/prometheus');
export const RULE_FILES = ['recording.yaml', 'alerts.yaml'] as const;

export interface RecordingRule {
  record: string;
  expr: string;
}

export interface AlertRule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string; promise: string };
  annotations: { summary: string; action: string; runbook: string };
}

export interface RuleFile<Rule> {
  groups: { name: string; rules: Rule[] }[];
}

export function readRules<Rule>(file: (typeof RULE_FILES)[number]): RuleFile<Rule> {
  return parse(readFileSync(join(RULES_DIRECTORY, file), 'utf8')) as RuleFile<Rule>;
}

export function recordingRules(): RecordingRule[] {
  return readRules<RecordingRule>('recording.yaml').groups.flatMap(({ rules }) => rules);
}

export function alertRules(): AlertRule[] {
  return readRules<AlertRule>('alerts.yaml').groups.flatMap(({ rules }) => rules);
}

/** Functions and operators that rules and panels use. Every other word of an expression is the name of a series. */
const WORDS = new Set(
  'absent bool count histogram_quantile increase max or rate sum vector'.split(' '),
);

/** The series that an expression reads. */
export function seriesIn(expr: string): string[] {
  const bare = expr
    .replaceAll(/"[^"]*"|'[^']*'/g, '')
    .replaceAll(/\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)/g, ' ');
  const names = Array.from(bare.matchAll(/[a-zA-Z_:][\w:]*/g), ([name]) => name);
  return [...new Set(names.filter((name) => !WORDS.has(name)))];
}
