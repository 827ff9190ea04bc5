/**
 * The catalogue of metrics, read from the registries of the three processes, and docs/METRICS.md made of it. So the
 * document cannot name a metric that no process has.
 */
import { Registry } from 'prom-client';
import { createAdminMetrics } from '../../src/admin/metrics.ts';
import { createHotPathMetrics } from '../../src/hot-path/metrics/hot-path-metrics.ts';
import { createPersisterMetrics } from '../../src/persister/metrics.ts';
import { createMetrics, createWorkerMetrics } from '../../src/process/metrics.ts';
import { createRedisMetrics } from '../../src/redis/redis-metrics.ts';

export interface CatalogueEntry {
  name: string;
  type: string;
  labels: readonly string[];
  unit: string;
  help: string;
}

interface Section {
  title: string;
  text: string;
  entries: CatalogueEntry[];
}

/** What each metric has; the library's types omit it. */
interface Described {
  name: string;
  help: string;
  type: string;
  labelNames: readonly string[];
}

/** In the order of the document. */
export function readCatalogue(): Section[] {
  return [
    {
      title: 'Hot path',
      text: 'On `HOT_PATH_PORT`. Workers that share a port respond for all of them ([ADR 14](adr/0014-metrics-of-workers.md)): counters are added up, and of event loop delays the longest counts.',
      entries: [
        ...entriesOf((registry) => {
          const none = () => 0;
          createHotPathMetrics(registry, {
            load: { pending: 0, connections: 0 },
            queued: none,
            subscribers: none,
            localSoldOut: none,
            nearlyFull: none,
          });
        }),
        ...entriesOf(createWorkerMetrics),
      ],
    },
    {
      title: 'Persister',
      text: 'On `PERSISTER_PORT`.',
      entries: entriesOf(createPersisterMetrics),
    },
    { title: 'Admin', text: 'On `ADMIN_PORT`.', entries: entriesOf(createAdminMetrics) },
    {
      title: 'Every process: Redis',
      text: 'What each of the three processes counts about the Redis servers that it uses.',
      entries: entriesOf((registry) => createRedisMetrics(registry, 'safe')),
    },
    {
      title: 'Every process: Node',
      text: 'From the package prom-client, on Linux. Other systems lack some of them.',
      entries: describe(createMetrics('any')),
    },
  ];
}

/** A histogram has three names in PromQL; a rule or a panel may use each. */
export function namesInPromQl({ name, type }: CatalogueEntry): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}

export function metricsDocument(): string {
  return `# Metrics

For operators: every metric that the engine exports for Prometheus. \`npm run docs:metrics\` writes this file from the code. [deploy/observability/](../deploy/observability/README.md) has the scrape configuration, recording rules, alerts and a dashboard; the [runbook](RUNBOOK.md) explains the alerts.

Every metric also has the label \`process\` (\`hot-path\`, \`persister\` or \`admin\`). A histogram has the series \`…_bucket\` (with the label \`le\`), \`…_sum\` and \`…_count\`. Counters only increase; a restart sets them to 0.

${readCatalogue().map(sectionText).join('\n\n')}
`;
}

function sectionText({ title, text, entries }: Section): string {
  const rows = entries.map(
    ({ name, type, labels, unit, help }) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${unit} | ${help.replaceAll('|', '\\|')} |`,
  );
  return `## ${title}

${text}

| metric | type | labels | unit | meaning |
|---|---|---|---|---|
${rows.join('\n')}`;
}

function entriesOf(create: (registry: Registry) => unknown): CatalogueEntry[] {
  const registry = new Registry();
  create(registry);
  return describe(registry);
}

function describe(registry: Registry): CatalogueEntry[] {
  const metrics = registry.getMetricsAsArray() as unknown as Described[];
  return metrics.map(({ name, type, labelNames, help }) => ({
    name,
    type,
    labels: labelNames,
    unit: unitOf(name, type),
    help: help.replaceAll(/\s+/g, ' ').trim(),
  }));
}

/** By the convention of names. */
function unitOf(name: string, type: string): string {
  if (/_seconds(_total)?$/.test(name)) return 'seconds';
  if (/_bytes(_total)?$/.test(name)) return 'bytes';
  return type === 'counter' ? 'count since start' : 'count';
}
