/**
 * Serves `metrics.k8s.io` from the CPU time of the pods' processes. As with metrics-server, each pod is measured every 15 s,
 * and a new one has no figure until its second measurement. What an idle process uses beyond its share is subtracted, and
 * the result is at most the request: a process that compiles its code uses more.
 */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ApiregistrationV1Api, CoreV1Api, type KubeConfig } from '@kubernetes/client-node';
import { SELF_SIGNED } from '../../harness/servers/certificates.ts';
import { type Scope, use } from '../../harness/use.ts';
import type { NodeAgent } from './node-agent.ts';

const GROUP = 'metrics.k8s.io';
const VERSION = 'v1beta1';
const PATH = `/apis/${GROUP}/${VERSION}`;
const WINDOW_MS = 15_000;

interface Sample {
  cpuSeconds: number;
  restarts: number;
  atMs: number;
}

interface Usage {
  cores: number;
  at: Date;
  windowMs: number;
}

export async function useMetricsServer(
  scope: Scope,
  config: KubeConfig,
  { agent, namespace }: { agent: NodeAgent; namespace: string },
): Promise<void> {
  const usages = new Map<string, Usage>();
  let samples = new Map<string, Sample>();
  const measure = () => {
    const before = samples;
    samples = new Map();
    const atMs = performance.now();
    for (const { name, cpuSeconds, cores: requested, state } of agent.limitedPods) {
      if (cpuSeconds === undefined) continue;
      const { restarts } = state;
      samples.set(name, { cpuSeconds, restarts, atMs });
      const last = before.get(name);
      if (last?.restarts !== restarts) continue;
      const windowMs = atMs - last.atMs;
      const used = ((cpuSeconds - last.cpuSeconds) * 1_000) / windowMs;
      const cores = Math.min(requested, used - agent.idleExtra(requested));
      usages.set(name, { cores, at: new Date(), windowMs });
    }
    for (const name of usages.keys()) if (!samples.has(name)) usages.delete(name);
  };
  await use(scope, () => setInterval(measure, WINDOW_MS), clearInterval);
  const server = createServer(SELF_SIGNED, ({ url = '' }, response) => {
    const { pathname } = new URL(url, 'https://localhost');
    const body = pathname === PATH ? RESOURCES : listOf(usages, agent, namespace);
    const isKnown = pathname === PATH || pathname === `${PATH}/namespaces/${namespace}/pods`;
    response.writeHead(isKnown ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(isKnown ? body : {}));
  });
  await use(
    scope,
    () => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)),
    () => {
      server.close();
      server.closeAllConnections();
    },
  );
  await register(config, (server.address() as AddressInfo).port);
}

const RESOURCES = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: `${GROUP}/${VERSION}`,
  resources: [
    {
      name: 'pods',
      singularName: '',
      namespaced: true,
      kind: 'PodMetrics',
      verbs: ['get', 'list'],
    },
  ],
};

/** Only the limited pods: the autoscaler is the only reader. */
function listOf(usages: ReadonlyMap<string, Usage>, agent: NodeAgent, namespace: string): object {
  const pods = agent.limitedPods.filter(({ name }) => usages.has(name));
  return {
    kind: 'PodMetricsList',
    apiVersion: `${GROUP}/${VERSION}`,
    metadata: {},
    items: pods.map(({ name }) => {
      const { cores, at, windowMs } = usages.get(name)!;
      return {
        metadata: { name, namespace },
        timestamp: at,
        window: `${(windowMs / 1_000).toFixed(3)}s`,
        containers: [
          {
            name: 'hot-path',
            usage: { cpu: `${Math.max(0, Math.round(cores * 1e9))}n`, memory: '0' },
          },
        ],
      };
    }),
  };
}

/** The API server asks `localhost` for this group, by a Service without pods. */
async function register(config: KubeConfig, port: number): Promise<void> {
  const namespace = 'kube-system';
  const name = 'metrics-server';
  await config.makeApiClient(CoreV1Api).createNamespacedService({
    namespace,
    body: {
      metadata: { name },
      spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
    },
  });
  await config.makeApiClient(ApiregistrationV1Api).createAPIService({
    body: {
      metadata: { name: `${VERSION}.${GROUP}` },
      spec: {
        group: GROUP,
        version: VERSION,
        groupPriorityMinimum: 100,
        versionPriority: 100,
        insecureSkipTLSVerify: true,
        service: { name, namespace, port },
      },
    },
  });
}
