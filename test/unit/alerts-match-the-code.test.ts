/** The alerts name metrics that the processes export, and each has its section in the runbook. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { createHotPathMetrics } from '../../src/hot-path/metrics/hot-path-metrics.ts';
import { createPersisterMetrics } from '../../src/persister/metrics.ts';
import { createMetrics } from '../../src/process/metrics.ts';
import { createRedisMetrics } from '../../src/redis/redis-metrics.ts';

interface Rule {
  alert: string;
  expr: string;
  labels: { severity: string; promise: string };
  annotations: { summary: string; action: string; runbook: string };
}

const REPOSITORY = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(REPOSITORY, file), 'utf8');
const { groups } = parse(read('deploy/prometheus/alerts.yaml')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

/** Metrics of the registries, and those that a function of admin or of the supervisor makes when it starts. */
async function exportedNames(): Promise<Set<string>> {
  const registry = createMetrics('test');
  createPersisterMetrics(registry);
  createRedisMetrics(registry);
  const load = { pending: 0, connections: 0 };
  const none = () => 0;
  createHotPathMetrics(registry, { load, queued: none, subscribers: none, localSoldOut: none });
  const metrics = await registry.getMetricsAsJSON();
  const inSources = globSync('src/{admin,process}/**/*.ts', { cwd: REPOSITORY }).flatMap((file) =>
    Array.from(read(file).matchAll(/name: '(flash_sale_\w+)'/g), ([, name]) => name!),
  );
  return new Set([...metrics.map(({ name }) => name), ...inSources]);
}

test('each metric of an alert is exported', async () => {
  const exported = await exportedNames();
  const unknown = rules.flatMap(({ alert, expr }) =>
    Array.from(expr.matchAll(/\b(?:flash_sale|nodejs|process)_\w+/g), ([name]) => name)
      .filter((name) => !exported.has(name.replace(/_(?:bucket|count|sum)$/, '')))
      .map((name) => `${alert}: ${name}`),
  );
  assert.deepEqual(unknown, []);
});

test('each alert says what happened, what to do, and which promise is at stake', () => {
  const sections = Array.from(read('docs/RUNBOOK.md').matchAll(/^## (\w+)$/gm), ([, name]) => name);
  assert.deepEqual(
    rules.map(({ alert }) => alert),
    sections,
  );
  for (const { alert, labels, annotations } of rules) {
    assert.match(labels.severity, /^(?:critical|warning)$/, alert);
    assert.match(labels.promise, /^[1-9]$/, alert);
    assert.ok(annotations.summary && annotations.action, alert);
    assert.equal(annotations.runbook, `docs/RUNBOOK.md#${alert.toLowerCase()}`);
  }
  const guarded = new Set(rules.map(({ labels }) => labels.promise));
  assert.deepEqual([...guarded].sort(), ['1', '2', '3', '4', '5', '6', '7', '8', '9']);
});
