/**
 * Rules, alerts, dashboard, catalogue and runbook agree with each other and with the metrics that the processes export.
 * `npm run check:observability` shows the same on a running engine.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dashboardJson } from '../../scripts/observability/dashboard.ts';
import { expressions } from '../../scripts/observability/dashboard-panels.ts';
import {
  metricsDocument,
  namesInPromQl,
  readCatalogue,
} from '../../scripts/observability/metrics-catalogue.ts';
import { requirePromQl } from '../../scripts/observability/promtool.ts';
import { alertRules, recordingRules, seriesIn } from '../../scripts/observability/rules.ts';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';

const REPOSITORY = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(REPOSITORY, file), 'utf8');

const alerts = alertRules();
const recorded = recordingRules();
const exported = new Set(
  readCatalogue().flatMap(({ entries }) => entries.flatMap((entry) => namesInPromQl(entry))),
);
/** Prometheus itself makes these two. */
const known = new Set([...exported, ...recorded.map(({ record }) => record), 'up', 'ALERTS']);

function unknownIn(named: readonly (readonly [name: string, expr: string])[]): string[] {
  return named.flatMap(([name, expr]) =>
    seriesIn(expr)
      .filter((series) => !known.has(series))
      .map((series) => `${name}: ${series}`),
  );
}

test('each series of a rule or a panel exists', () => {
  assert.deepEqual(
    recorded.flatMap(({ record, expr }) =>
      seriesIn(expr)
        .filter((series) => !exported.has(series))
        .map((series) => `${record}: ${series}`),
    ),
    [],
  );
  assert.deepEqual(unknownIn(alerts.map(({ alert, expr }) => [alert, expr])), []);
  assert.deepEqual(unknownIn(expressions().map((expr) => [expr, expr])), []);
});

test('each recording rule is used by the dashboard or an alert', () => {
  const used = new Set([...expressions(), ...alerts.map(({ expr }) => expr)].flatMap(seriesIn));
  const unused = recorded.map(({ record }) => record).filter((record) => !used.has(record));
  assert.deepEqual(unused, []);
});

test('each alert says what happened, what to do, and which promise is at stake', () => {
  const sections = Array.from(read('docs/RUNBOOK.md').matchAll(/^## (\w+)$/gm), ([, name]) => name);
  assert.deepEqual(
    alerts.map(({ alert }) => alert),
    sections,
  );
  for (const { alert, labels, annotations } of alerts) {
    assert.match(labels.severity, /^(?:critical|warning)$/, alert);
    assert.match(labels.promise, /^[1-9]$/, alert);
    assert.ok(annotations.summary && annotations.action, alert);
    assert.equal(annotations.runbook, `docs/RUNBOOK.md#${alert.toLowerCase()}`);
  }
  const guarded = new Set(alerts.map(({ labels }) => labels.promise));
  assert.deepEqual([...guarded].sort(), ['1', '2', '3', '4', '5', '6', '7', '8', '9']);
});

test('the dashboard is what npm run docs:dashboard writes', () => {
  assert.equal(read('deploy/observability/grafana/dashboard.json'), dashboardJson());
});

test('the catalogue is what npm run docs:metrics writes', {
  // Other systems lack some of Node's metrics.
  skip: process.platform !== 'linux',
}, () => {
  assert.equal(read('docs/METRICS.md'), metricsDocument());
});

test('each expression is PromQL', {
  skip: !findProgram('promtool') && 'needs promtool; npm run check:alerts installs it',
}, () => {
  requirePromQl([
    ...expressions(),
    ...recorded.map(({ expr }) => expr),
    ...alerts.map(({ expr }) => expr),
  ]);
});
