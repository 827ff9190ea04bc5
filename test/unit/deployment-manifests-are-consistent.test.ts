/**
 * docker-compose.yml and the pods of k8s/ agree with the configuration, the image and each other where no schema can check
 * it. kubernetes-overlays-are-complete.test.ts is about what surrounds those pods. Their schemas: `npm run check:manifests`.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import {
  COMPONENTS,
  filesOf,
  kustomizationIn,
  kustomizationsOf,
  OVERLAYS,
  objectsIn,
  REPOSITORY,
} from '../../harness/kubernetes/kustomizations.ts';
import { VARIABLES } from '../../src/config.ts';

const textOf = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8');

/** What `runUntilStopped` gives a process to close. */
const CLOSE_DEADLINE_SECONDS =
  Number(
    /CLOSE_DEADLINE_MS = ([\d_]+);/
      .exec(textOf('src/process/lifecycle.ts'))![1]!
      .replaceAll('_', ''),
  ) / 1_000;
/** Longer than the kubelet's longest pause between restarts, 5 min, by far. */
const STARTUP_PATIENCE_SECONDS = 1_800;
/** Servers of other projects, whose ports no variable sets. */
const FIXED_PORTS: Record<string, number[]> = {
  redis: [6379],
  postgres: [5432],
  prometheus: [9090],
  grafana: [3000],
};
/** Without these settings the engine refuses a Redis (src/redis/server-requirements.ts). */
const REDIS_SETTINGS = ['appendonly yes', 'appendfsync always', 'maxmemory-policy noeviction'];

type Environment = Record<string, string>;

function variablesOf(subcommand: string): readonly string[] {
  return (VARIABLES as Record<string, readonly string[]>)[subcommand] ?? assert.fail(subcommand);
}

/** Throws unless every URL names a host of `portsOfHost` and one of its ports. */
function assertUrlsResolve(values: Environment, portsOfHost: Map<string, number[]>): void {
  for (const [name, value] of Object.entries(values)) {
    // A password comes by interpolation and may contain anything.
    const plain = value.replaceAll(/\$\{[^}]*\}|\$\([^)]*\)/g, 'value');
    const [, host, port] = /^[a-z+]+:\/\/(?:[^/]*@)?([a-z0-9-]+):(\d+)/.exec(plain) ?? [];
    if (host === undefined) continue;
    assert.ok(portsOfHost.get(host)?.includes(Number(port)), `${name} names ${host}:${port}`);
  }
}

function assertRedisIsDurable(words: readonly string[]): void {
  const text = words.join(' ');
  for (const setting of REDIS_SETTINGS) assert.ok(text.includes(`--${setting}`), setting);
  assert.doesNotMatch(text, /no-appendfsync-on-rewrite yes|aof-load-corrupt-tail-max-size/);
}

describe('docker-compose.yml', () => {
  interface Service {
    build?: string;
    image?: string;
    volumes?: string[];
    command?: unknown[];
    environment?: Record<string, unknown>;
    ports?: string[];
    healthcheck?: { test?: string[] };
  }
  const text = textOf('docker-compose.yml');
  const services: Record<string, Service> = parse(text, { merge: true }).services;
  const portsOf = (service: string) =>
    FIXED_PORTS[service] ??
    Object.entries(services[service]!.environment ?? {}).flatMap(([name, value]) =>
      name.endsWith('_PORT') ? [Number(value)] : [],
    );

  it("passes on each variable that a container's process reads, and no other", () => {
    for (const { build, command, environment = {} } of Object.values(services)) {
      if (build === undefined) continue;
      const subcommand = String(command?.[0]);
      assert.deepEqual(Object.keys(environment).sort(), [...variablesOf(subcommand)].sort());
    }
  });

  it('refers to services at ports where they listen', () => {
    const ports = new Map(Object.keys(services).map((name) => [name, portsOf(name)]));
    for (const [name, service] of Object.entries(services)) {
      const values = Object.entries(service.environment ?? {});
      assertUrlsResolve(
        Object.fromEntries(values.map(([variable, value]) => [variable, String(value)])),
        ports,
      );
      const probe = service.healthcheck?.test?.join(' ') ?? '';
      for (const [, port] of probe.matchAll(/127\.0\.0\.1:(\d+)/g)) {
        assert.deepEqual(portsOf(name), [Number(port)]);
      }
    }
  });

  it('publishes ports where processes listen, and on the loopback address only', () => {
    for (const [name, service] of Object.entries(services)) {
      for (const published of service.ports ?? []) {
        assert.match(published, /^(?:\$\{PUBLISH_ON:-127\.0\.0\.1\}|127\.0\.0\.1):/);
        assert.ok(portsOf(name).includes(Number(published.split(':').at(-1))), published);
      }
    }
  });

  it('runs a Redis that the engine accepts', () => {
    assertRedisIsDurable(services.redis!.command!.map(String));
  });

  it('scrapes its services at the ports where they listen', () => {
    const { scrape_configs: jobs } = parse(
      textOf('deploy/observability/prometheus/prometheus.yaml'),
    ) as {
      scrape_configs: { job_name: string; dns_sd_configs: { names: string[]; port: number }[] }[];
    };
    const scraped = jobs.map(({ job_name, dns_sd_configs: [target] }) => {
      assert.deepEqual(target!.names, [job_name]);
      return [job_name, [target!.port]];
    });
    const engine = ['hot-path', 'persister', 'admin'].map((name) => [name, portsOf(name)]);
    assert.deepEqual(scraped, engine);
  });

  it('mounts files that exist', () => {
    const mounted = Object.values(services)
      .flatMap(({ volumes = [] }) => volumes)
      .flatMap((volume) => (volume.startsWith('./') ? [volume.split(':')[0]!] : []));
    assert.deepEqual(
      mounted.filter((path) => !existsSync(join(REPOSITORY, path))),
      [],
    );
  });

  it('pins each image that it does not build', () => {
    for (const [name, { build, image }] of Object.entries(services)) {
      if (build === undefined) assert.match(image!, /:v?\d+\.\d[\w.-]*$|^postgres:\d+-\w+$/, name);
    }
  });
});

describe('k8s/', () => {
  interface Probe {
    httpGet?: object;
    periodSeconds: number;
    timeoutSeconds: number;
    failureThreshold: number;
  }
  interface Container {
    image: string;
    args?: string[];
    envFrom?: { configMapRef: { name: string } }[];
    env?: {
      name: string;
      value?: string;
      valueFrom?: { secretKeyRef: { name: string; key: string } };
    }[];
    ports?: { name: string; containerPort: number }[];
    securityContext: object;
    startupProbe: Probe;
    readinessProbe: Probe;
    livenessProbe: Probe;
    lifecycle?: { preStop: { sleep: { seconds: number } } };
  }
  interface Pod {
    enableServiceLinks?: boolean;
    automountServiceAccountToken?: boolean;
    serviceAccountName?: string;
    terminationGracePeriodSeconds?: number;
    topologySpreadConstraints?: { topologyKey: string; labelSelector: object }[];
    securityContext: { runAsUser: number; runAsNonRoot?: boolean };
    containers: [Container];
  }
  interface Template {
    metadata: { labels: Environment };
    spec: Pod;
  }

  const directories = [...new Set([...OVERLAYS, ...COMPONENTS].flatMap(kustomizationsOf))];
  const files = [...new Set([...OVERLAYS, ...COMPONENTS].flatMap(filesOf))];
  const documents = files.flatMap(objectsIn);
  const secret = objectsIn('k8s/secret.example.yaml')[0]!;
  const ofKind = (...kinds: string[]) => documents.filter(({ kind }) => kinds.includes(kind));
  const keysOf = (kind: string, name: string): string[] => {
    const found = [...documents, secret].find(
      (object) => object.kind === kind && object.metadata.name === name,
    );
    return Object.keys(found?.data ?? found?.stringData ?? assert.fail(`${kind} ${name}`));
  };
  const workloads = ofKind('Deployment', 'StatefulSet', 'Job', 'CronJob');
  const templateOf = ({ spec }: (typeof workloads)[number]): Template =>
    spec.template ?? spec.jobTemplate.spec.template;
  const podsWith = (labels: Environment) =>
    workloads
      .map(templateOf)
      .filter(({ metadata }) =>
        Object.entries(labels).every(([key, value]) => metadata.labels[key] === value),
      );

  for (const workload of workloads) {
    const { kind, metadata } = workload;
    const template = templateOf(workload);
    const pod = template.spec;
    const [container] = pod.containers;
    const env = container.env ?? [];
    const isEngine = container.image === 'flash-sale' && container.args !== undefined;

    describe(`${kind} ${metadata.name}`, () => {
      it('takes from ConfigMaps, Secrets and other variables only what they have', () => {
        const earlier = new Set<string>();
        for (const { name, value = '', valueFrom } of env) {
          const reference = valueFrom?.secretKeyRef;
          if (reference) {
            assert.ok(keysOf('Secret', reference.name).includes(reference.key), reference.key);
          }
          // Kubernetes expands only what is set above.
          for (const [, used] of value.matchAll(/\$\(([A-Z_]+)\)/g)) {
            assert.ok(earlier.has(used!), `${name} uses ${used}, which is not set above it`);
          }
          earlier.add(name);
        }
      });

      it('has no Service links, which would set HOT_PATH_PORT to a URL', () => {
        assert.equal(pod.enableServiceLinks, false);
      });

      it('has no token of the API server, unless it has an account of its own', () => {
        assert.equal(pod.automountServiceAccountToken, pod.serviceAccountName !== undefined);
      });

      it('is not killed before it has closed', () => {
        const preStopSeconds = container.lifecycle?.preStop.sleep.seconds ?? 0;
        const graceSeconds = pod.terminationGracePeriodSeconds ?? 30;
        assert.ok(graceSeconds >= preStopSeconds + CLOSE_DEADLINE_SECONDS);
      });

      it('can neither become root nor write to its image', () => {
        assert.equal(pod.securityContext.runAsNonRoot, true);
        assert.deepEqual(container.securityContext, {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      });

      if (kind === 'Deployment') {
        it('spreads its own pods over nodes', () => {
          const spread = pod.topologySpreadConstraints!;
          assert.ok(spread.some(({ topologyKey }) => topologyKey === 'kubernetes.io/hostname'));
          for (const { labelSelector } of spread) {
            assert.deepEqual(labelSelector, workload.spec.selector);
          }
        });

        it('is taken out by the readiness probe before the liveness probe restarts it', () => {
          const after = ({ periodSeconds, failureThreshold }: Probe) =>
            periodSeconds * failureThreshold;
          assert.ok(after(container.readinessProbe) < after(container.livenessProbe));
          for (const probe of [container.readinessProbe, container.livenessProbe]) {
            assert.ok(probe.timeoutSeconds <= probe.periodSeconds);
          }
        });

        it('becomes ready by /readyz, and is never restarted because a server is missing', () => {
          const [ready, health] = ['/readyz', '/healthz'].map((path) => ({ path, port: 'http' }));
          const { startupProbe, readinessProbe, livenessProbe } = container;
          assert.ok(container.ports?.some(({ name }) => name === 'http'));
          assert.deepEqual(livenessProbe.httpGet, health);
          const isServed = ofKind('Service').some(({ spec }) =>
            podsWith(spec.selector).includes(template),
          );
          if (!isServed) {
            assert.deepEqual(startupProbe.httpGet, health);
            assert.deepEqual(readinessProbe.httpGet, ready);
            return;
          }
          // A pod that has been ready stays in its Service while Redis fails: otherwise all would leave it at once.
          assert.deepEqual(startupProbe.httpGet, ready);
          assert.deepEqual(readinessProbe.httpGet, health);
          const patienceSeconds = startupProbe.periodSeconds * startupProbe.failureThreshold;
          assert.ok(patienceSeconds >= STARTUP_PATIENCE_SECONDS);
        });
      }

      if (!isEngine) return;

      it('sets variables that its process reads', () => {
        const shared = (container.envFrom ?? []).flatMap(({ configMapRef }) =>
          keysOf('ConfigMap', configMapRef.name),
        );
        const read = new Set(variablesOf(container.args![0]!));
        const set = [...shared, ...env.map(({ name }) => name), ...namesAddedTo(metadata.name)];
        assert.deepEqual(
          set.filter((name) => !read.has(name)),
          [],
        );
      });

      it('listens on the ports that it declares', () => {
        const ports = env.filter(({ name }) => name.endsWith('_PORT'));
        assert.deepEqual(
          ports.map(({ value }) => Number(value)),
          (container.ports ?? []).map(({ containerPort }) => containerPort),
        );
      });

      it("runs as the image's user", () => {
        const [, user] = /^USER (\d+):\d+$/m.exec(textOf('Dockerfile'))!;
        assert.equal(pod.securityContext.runAsUser, Number(user));
      });
    });
  }

  /** The variables that patches add to a Deployment. */
  function namesAddedTo(deployment: string): string[] {
    return directories
      .flatMap((directory) => kustomizationIn(directory).patches ?? [])
      .filter(({ target }) => target?.name === deployment)
      .flatMap(({ patch }) => parse(patch) as { path: string; value?: { name: string } }[])
      .flatMap(({ path, value }) => (path.endsWith('/env/-') ? [value!.name] : []));
  }

  it('has Services that select one workload and a port of it', () => {
    for (const { metadata, spec } of ofKind('Service')) {
      const [pod, ...others] = podsWith(spec.selector);
      assert.ok(pod && others.length === 0, `Service ${metadata.name}`);
      const ports = pod.spec.containers[0].ports!.map(({ name }) => name);
      for (const { targetPort } of spec.ports) assert.ok(ports.includes(targetPort), targetPort);
    }
  });

  it('has an example of the Secret whose URLs name Services, at their ports, with their passwords', () => {
    const ports: [string, number[]][] = ofKind('Service').map(({ metadata, spec }) => [
      metadata.name,
      spec.ports.map(({ port }: { port: number }) => port),
    ]);
    const stringData = secret.stringData!;
    assertUrlsResolve(stringData, new Map(ports));
    assert.equal(new URL(stringData.REDIS_URL!).password, stringData.REDIS_PASSWORD);
    assert.equal(new URL(stringData.DATABASE_URL!).password, stringData.POSTGRES_PASSWORD);
  });

  it('runs a Redis that the engine accepts', () => {
    const redis = workloads.find(({ metadata }) => metadata.name === 'redis')!;
    assertRedisIsDurable(redis.spec.template.spec.containers[0].args);
  });
});
