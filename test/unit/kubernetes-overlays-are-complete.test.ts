/**
 * What surrounds the pods of k8s/: each overlay has budgets, network policies and an autoscaler that fit its pods, the
 * metrics and the code. `npm run check:manifests` builds the overlays and validates the result.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import ipaddr from 'ipaddr.js';
import { parse } from 'yaml';
import {
  COMPONENTS,
  filesOf,
  type KubernetesObject,
  kustomizationIn,
  kustomizationsOf,
  nameOf,
  OVERLAYS,
  objectsIn,
  objectsOf,
  REPOSITORY,
} from '../../harness/kubernetes/kustomizations.ts';
import { KUBERNETES_RULES, kubernetesRules } from '../../scripts/observability/kubernetes-rules.ts';
import { seriesIn } from '../../scripts/observability/rules.ts';
import { isPublicAddress } from '../../src/domain/webhook-target.ts';

const textOf = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8');
/** Each of them has something to lose when its pods stop at once. */
const PROCESSES = ['hot-path', 'persister', 'admin'];
const NAME = 'app.kubernetes.io/name';
/** A hot path closes an idle connection after this time (docs/PROXIES.md). */
const IDLE_SECONDS = 10;

interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: 'In'; values: string[] }[];
}
interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: { port: string | number; protocol?: string }[];
}
interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}

type PodLabels = Pick<Template, 'metadata'>;
interface Template {
  metadata: { labels: Record<string, string> };
  spec: {
    containers: [{ ports?: { name: string; containerPort: number }[]; env?: { value?: string }[] }];
  };
}

function templateOf({ spec }: KubernetesObject): Template | undefined {
  return spec?.template ?? spec?.jobTemplate?.spec.template;
}

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, pod: PodLabels): boolean {
  const { labels } = pod.metadata;
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, values }) => values.includes(labels[key] ?? ''))
  );
}

function portsOf(pod: Template): (string | number)[] {
  const ports = pod.spec.containers[0].ports ?? [];
  return ports.flatMap(({ name, containerPort }) => [name, containerPort]);
}

function byName(objects: KubernetesObject[], kind: string, name: string): KubernetesObject {
  const found = objects.find((each) => each.kind === kind && each.metadata.name === name);
  return found ?? assert.fail(`${kind} ${name}`);
}

/** The patches that apply in a directory, without those of what it leads to. */
const patchesIn = (directory: string) => kustomizationIn(directory).patches ?? [];

for (const overlay of OVERLAYS) {
  describe(nameOf(overlay), () => {
    const objects = objectsOf(overlay);
    const ofKind = (kind: string) => objects.filter((object) => object.kind === kind);
    const pods = objects.map(templateOf).filter((template) => template !== undefined);
    const policies = ofKind('NetworkPolicy');
    const policiesFor = (name: string, direction: 'ingress' | 'egress'): Rule[] =>
      policies
        .filter(({ spec }) => selects(spec.podSelector, { metadata: { labels: { [NAME]: name } } }))
        .flatMap(({ spec }) => spec[direction] ?? []);

    it('has one object of each kind and name', () => {
      const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      assert.deepEqual(names, [...new Set(names)]);
    });

    it('stops one pod of a process at a time, and never waits for one that is not ready', () => {
      for (const name of PROCESSES) {
        const { spec } = byName(objects, 'PodDisruptionBudget', name);
        assert.deepEqual(spec.selector, byName(objects, 'Deployment', name).spec.selector);
        assert.equal(spec.maxUnavailable, 1);
        assert.equal(spec.unhealthyPodEvictionPolicy, 'AlwaysAllow');
      }
    });

    it('denies all traffic that no policy allows, to and from every pod', () => {
      const { spec } = byName(objects, 'NetworkPolicy', 'default-deny');
      assert.deepEqual(spec, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    });

    it('has policies that select pods, and ports where those listen', () => {
      for (const { metadata, spec } of policies) {
        const selected = pods.filter((pod) => selects(spec.podSelector, pod));
        assert.ok(selected.length > 0, metadata.name);
        const types = ['ingress', 'egress'].filter((type) => spec[type] !== undefined);
        if (metadata.name !== 'default-deny') {
          assert.deepEqual(
            spec.policyTypes.map((type: string) => type.toLowerCase()),
            types,
          );
        }
        for (const { ports, from = [] } of (spec.ingress ?? []) as Rule[]) {
          for (const pod of selected) {
            for (const { port } of ports!) assert.ok(portsOf(pod).includes(port), metadata.name);
          }
          for (const { podSelector } of from) {
            if (podSelector) assert.ok(pods.some((pod) => selects(podSelector, pod)));
          }
        }
        for (const { ports, to = [] } of (spec.egress ?? []) as Rule[]) {
          for (const { podSelector, namespaceSelector } of to) {
            if (!podSelector || namespaceSelector) continue;
            const targets = pods.filter((pod) => selects(podSelector, pod));
            assert.ok(targets.length > 0, metadata.name);
            for (const { port } of ports!) {
              for (const target of targets) assert.ok(portsOf(target).includes(port));
            }
          }
        }
      }
    });

    it('lets each process reach the servers that it uses, and no other', () => {
      const reached = (name: string) =>
        policiesFor(name, 'egress').flatMap(({ ports }) => ports!.map(({ port }) => port));
      for (const name of [...PROCESSES, 'migrate']) {
        assert.ok(reached(name).includes(6379), name);
        assert.ok(reached(name).includes(53), name);
        assert.equal(reached(name).includes(5432), name !== 'hot-path', name);
        assert.equal(reached(name).includes(443), name === 'persister', name);
      }
      for (const name of ['redis', 'postgres']) assert.deepEqual(reached(name), []);
    });

    it('lets buyers reach the hot path, and only labelled namespaces admin and the metrics', () => {
      const isOpen = (name: string) => policiesFor(name, 'ingress').some(({ from }) => !from);
      assert.deepEqual(PROCESSES.filter(isOpen), ['hot-path']);
      for (const name of PROCESSES) {
        const scraped = policiesFor(name, 'ingress').some(({ from }) =>
          from?.some(
            ({ namespaceSelector }) =>
              namespaceSelector?.matchLabels?.['flash-sale/may-read-metrics'] === 'true',
          ),
        );
        assert.ok(scraped, name);
      }
    });

    it('has one source for the number of pods of each Deployment', () => {
      const replicas = kustomizationIn(overlay).replicas?.map(({ name }) => name) ?? [];
      const isRemoved = (name: string) =>
        patchesIn(overlay).some(
          ({ target, patch }) =>
            target?.name === name && /op: remove, path: \/spec\/replicas/.test(patch),
        );
      for (const { metadata, spec } of ofKind('Deployment')) {
        const scalers = objects.filter(
          (object) => object.spec?.scaleTargetRef?.name === metadata.name,
        );
        const fixed = spec.replicas !== undefined && !isRemoved(metadata.name);
        const sources = scalers.length + Number(fixed || replicas.includes(metadata.name));
        assert.equal(sources, 1, metadata.name);
      }
    });
  });
}

describe('k8s/', () => {
  const production = objectsOf('k8s');
  const keda = objectsOf('k8s/overlays/production-keda');
  const hpa = byName(production, 'HorizontalPodAutoscaler', 'hot-path').spec;
  const scaledHotPath = byName(keda, 'ScaledObject', 'hot-path').spec;
  const scaledPersister = byName(keda, 'ScaledObject', 'persister').spec;
  const floor = objectsOf('k8s/components/scheduled-floor');

  it('uses each of its files, except for examples', () => {
    const used = new Set(
      [...OVERLAYS, ...COMPONENTS].flatMap((directory) => [
        ...filesOf(directory),
        ...kustomizationsOf(directory).map((each) => `${each}/kustomization.yaml`),
      ]),
    );
    const files = globSync('k8s/**/*.yaml', { cwd: REPOSITORY });
    assert.deepEqual(files.filter((file) => !used.has(file)).toSorted(), [
      'k8s/components/event-loop-metric/prometheus-adapter.yaml',
      'k8s/secret.example.yaml',
    ]);
  });

  it('sets the namespace wherever objects are added, and the tag of this version', () => {
    const { version } = JSON.parse(textOf('package.json'));
    for (const directory of [...OVERLAYS, ...COMPONENTS].flatMap(kustomizationsOf)) {
      const { resources = [], namespace, images = [] } = kustomizationIn(directory);
      if (resources.length > 0) assert.equal(namespace, 'flash-sale', directory);
      for (const { newTag } of images) assert.equal(newTag, version, directory);
    }
  });

  it('asks for replicas of Redis only where those can exist', () => {
    const [dev, ...others] = ['k8s/overlays/dev', 'k8s', 'k8s/overlays/production-keda'].map(
      (overlay) =>
        kustomizationsOf(overlay)
          .flatMap(patchesIn)
          .map(({ patch }) => patch),
    );
    assert.ok(!dev!.some((patch) => patch.includes('replicated')));
    for (const patches of others) {
      assert.ok(patches.some((patch) => patch.includes('DURABILITY: replicated')));
    }
    assert.equal(byName(production, 'ConfigMap', 'flash-sale').data!.DURABILITY, 'safe');
  });

  it('lets webhooks reach public addresses only, as the persister does', () => {
    const { spec } = byName(production, 'NetworkPolicy', 'to-webhooks');
    const blocks = (spec.egress[0].to as Peer[]).map(({ ipBlock }) => ipBlock!);
    const isIn = (address: string, range: string) => {
      const [parsed, cidr] = [ipaddr.parse(address), ipaddr.parseCIDR(range)];
      return parsed.kind() === cidr[0].kind() && parsed.match(cidr);
    };
    const mayReach = (address: string) =>
      blocks.some(
        ({ cidr, except = [] }) =>
          isIn(address, cidr) && !except.some((range) => isIn(address, range)),
      );
    for (const range of blocks.flatMap(({ except = [] }) => except)) {
      assert.equal(isPublicAddress(range.split('/')[0]!), false, range);
    }
    const privateNetworks = '10.1.2.3 172.20.0.1 192.168.1.1 127.0.0.1 100.64.0.1 ::1 fe80::1';
    const metadataServices = '169.254.169.254 100.100.100.200 192.0.0.192 fd00:ec2::254';
    const internet = '1.1.1.1 203.1.113.1 172.32.0.1 100.128.0.1 2606:4700::1111';
    for (const address of `${privateNetworks} ${metadataServices} ${internet}`.split(' ')) {
      assert.equal(mayReach(address), isPublicAddress(address), address);
    }
  });

  it('scales the hot paths by KEDA as by the plain autoscaler, and by more', () => {
    const { minReplicaCount, maxReplicaCount, advanced, triggers } = scaledHotPath;
    assert.deepEqual(
      { minReplicas: minReplicaCount, maxReplicas: maxReplicaCount },
      { minReplicas: hpa.minReplicas, maxReplicas: hpa.maxReplicas },
    );
    assert.deepEqual(advanced.horizontalPodAutoscalerConfig.behavior, hpa.behavior);
    const [cpu, delay, cron] = triggers;
    assert.deepEqual(
      [String(hpa.metrics[0].resource.target.averageUtilization)],
      [cpu.metadata.value],
    );
    const [{ value }] = parse(patchesIn('k8s/components/event-loop-metric')[0]!.patch);
    assert.equal(value.pods.target.averageValue, `${Number(delay.metadata.threshold) * 1_000}m`);
    const planned = Number(cron.metadata.desiredReplicas);
    assert.ok(hpa.minReplicas < planned && planned <= hpa.maxReplicas);
  });

  it('raises the floor of the autoscaler before a sale, and lowers it to the usual one', () => {
    const [raise, lower] = floor
      .filter(({ kind }) => kind === 'CronJob')
      .map((job) => Number(templateOf(job)!.spec.containers[0].env![0]!.value));
    assert.ok(raise! > hpa.minReplicas && raise! <= hpa.maxReplicas);
    assert.equal(lower, hpa.minReplicas);
    const { rules } = byName(floor, 'Role', 'scheduled-floor');
    assert.deepEqual(rules, [
      {
        apiGroups: ['autoscaling'],
        resources: ['horizontalpodautoscalers'],
        resourceNames: ['hot-path'],
        verbs: ['patch'],
      },
    ]);
  });

  it('scales by metrics that the engine exports', () => {
    const catalogue = textOf('docs/METRICS.md');
    const adapter = parse(textOf('k8s/components/event-loop-metric/prometheus-adapter.yaml'));
    const [{ value }] = parse(patchesIn('k8s/components/event-loop-metric')[0]!.patch);
    const [rule] = adapter.rules;
    assert.equal(rule.name.as, value.pods.metric.name);
    const triggers: { metadata: { query?: string } }[] = [
      ...scaledHotPath.triggers,
      ...scaledPersister.triggers,
    ];
    const queries = triggers.flatMap(({ metadata }) => metadata.query ?? []);
    for (const series of [rule.seriesQuery, ...queries].flatMap(seriesIn)) {
      assert.ok(catalogue.includes(`| \`${series}\` |`), series);
    }
  });

  it('never scales the persisters beyond the connections of PostgreSQL', () => {
    const [, perPersister, perAdmin] =
      /A persister uses up to (\d+) connections and an admin up to (\d+)/
        .exec(textOf('docs/PROXIES.md'))!
        .map(Number);
    const mostOf = (name: string, pods: number) =>
      pods + byName(keda, 'Deployment', name).spec.strategy.rollingUpdate.maxSurge;
    const admins = byName(keda, 'Deployment', 'admin').spec.replicas;
    const connections =
      mostOf('persister', scaledPersister.maxReplicaCount) * perPersister! +
      mostOf('admin', admins) * perAdmin!;
    // max_connections is 100, and 3 are reserved for superusers.
    assert.ok(connections <= 97, String(connections));
  });

  it('counts late sales per persister as a persister writes sales', () => {
    const [, writers] = /WRITERS_MAX = (\d+);/.exec(textOf('src/persister/main.ts'))!;
    assert.equal(scaledPersister.triggers[0].metadata.threshold, writers);
  });

  it("lets a gateway hold as many requests and WebSockets as the hot paths' own limits", () => {
    const [policy] = objectsIn('k8s/components/gateway/envoy-gateway.yaml');
    const example = textOf('.env.example');
    const [requests, sockets] = ['REQUESTS_MAX', 'LIVE_SUBSCRIBERS_MAX'].map((name) =>
      Number(new RegExp(`^${name}=(\\d+)$`, 'm').exec(example)![1]),
    );
    for (const limit of Object.values(policy!.spec.circuitBreaker)) {
      assert.equal(limit, 10 * (requests! + sockets!));
    }
  });

  it('closes idle connections to a hot path before the hot path does', () => {
    const [policy] = objectsIn('k8s/components/gateway/envoy-gateway.yaml');
    const seconds = Number.parseInt(policy!.spec.timeout.http.connectionIdleTimeout, 10);
    const ingress = textOf('k8s/components/ingress/ingress.yaml');
    const [, keepalive] = /upstream-keepalive-timeout: "(\d+)"/.exec(ingress)!;
    for (const each of [seconds, Number(keepalive)]) assert.ok(each > 0 && each < IDLE_SECONDS);
  });

  it('publishes only the API, at Services that exist', () => {
    const routes: { matches: { path: { value: string } }[]; backendRefs: object[] }[] = objectsIn(
      'k8s/components/gateway/gateway.yaml',
    )[1]!.spec.rules;
    const ingress: { path: string; backend: { service: object } }[] = objectsIn(
      'k8s/components/ingress/ingress.yaml',
    )[0]!.spec.rules[0].http.paths;
    const paths = [
      ...routes.flatMap(({ matches }) => matches.map(({ path }) => path.value)),
      ...ingress.map(({ path }) => path),
    ];
    assert.deepEqual([...new Set(paths)], ['/v1/']);
    const [{ name: portName, port }] = byName(production, 'Service', 'hot-path').spec.ports;
    for (const { backendRefs } of routes)
      assert.deepEqual(backendRefs, [{ name: 'hot-path', port }]);
    for (const { backend } of ingress) {
      assert.deepEqual(backend.service, { name: 'hot-path', port: { name: portName } });
    }
  });

  it('has the rules of deploy/observability, as npm run generate:kubernetes-rules writes them', () => {
    assert.equal(textOf(KUBERNETES_RULES), kubernetesRules());
  });

  it('scrapes the processes as the plain Prometheus does', () => {
    const [monitor] = objectsIn('k8s/components/prometheus-operator/pod-monitor.yaml');
    const { selector, jobLabel, podMetricsEndpoints } = monitor!.spec;
    assert.deepEqual(selector.matchExpressions[0].values, PROCESSES);
    assert.equal(jobLabel, NAME);
    const plain = parse(textOf('deploy/observability/prometheus/prometheus.kubernetes.yaml'));
    assert.deepEqual(
      [podMetricsEndpoints[0].interval, podMetricsEndpoints[0].scrapeTimeout],
      [plain.global.scrape_interval, plain.global.scrape_timeout],
    );
  });
});
