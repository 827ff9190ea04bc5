/** The production manifests on a real control plane. Their pods run on this machine, behind a balancer. */
import { KubeConfig } from '@kubernetes/client-node';
import { stringify } from 'yaml';
import { JWT_SECRET } from '../../harness/engine/hot-path.ts';
import { pathOf } from '../../harness/kubernetes/build.ts';
import { useControlPlane } from '../../harness/kubernetes/control-plane.ts';
import { build, wrap } from '../../harness/kubernetes/kustomize.ts';
import type { Scope } from '../../harness/use.ts';
import { useBalancer } from './balancer.ts';
import { useMetricsServer } from './metrics-server.ts';
import { type NodeAgent, useNodeAgent } from './node-agent.ts';
import { useNodes } from './nodes.ts';

const NAMESPACE = 'flash-sale';
const HOT_PATH = 'hot-path';
export const NODES = ['node-1', 'node-2', 'node-3'] as const;

export interface Cluster {
  config: KubeConfig;
  namespace: string;
  agent: NodeAgent;
  /** Where buyers connect. */
  port: number;
  kubectl: (...args: string[]) => Promise<string>;
  apply: (objects: string) => Promise<string>;
}

export interface ClusterChoices {
  redisUrl: string;
  databaseUrl: string;
  /** That a hot path requests. Once its code is compiled, it gets these and its idle extra at most. */
  cores: number;
}

/** Resolves when the deployments are applied; their pods start then. */
export async function useCluster(scope: Scope, choices: ClusterChoices): Promise<Cluster> {
  const { kubeconfig, kubectl } = await useControlPlane(scope);
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  await useNodes(scope, config, NODES);
  const objects = build(
    [pathOf('kubectl'), 'kustomize'],
    wrap('autoscale', {
      resources: ['k8s'],
      namespace: NAMESPACE,
      patches: [
        {
          target: { kind: 'Deployment', name: HOT_PATH },
          patch: stringify([
            {
              op: 'replace',
              path: '/spec/template/spec/containers/0/resources/requests/cpu',
              value: `${choices.cores * 1_000}m`,
            },
          ]),
        },
      ],
    }),
  );
  await kubectl(['create', 'namespace', NAMESPACE]);
  const agent = await useNodeAgent(scope, config, {
    namespace: NAMESPACE,
    limited: HOT_PATH,
  });
  await useMetricsServer(scope, config, { agent, namespace: NAMESPACE });
  const port = await useBalancer(scope, config, { namespace: NAMESPACE, service: HOT_PATH });
  await kubectl(['apply', '-f', '-'], secretOf(choices));
  await kubectl(['apply', '-f', '-'], objects);
  return {
    config,
    namespace: NAMESPACE,
    agent,
    port,
    kubectl: (...args) => kubectl(['--namespace', NAMESPACE, ...args]),
    apply: (object) => kubectl(['--namespace', NAMESPACE, 'apply', '-f', '-'], object),
  };
}

function secretOf({ redisUrl, databaseUrl }: ClusterChoices): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'flash-sale', namespace: NAMESPACE },
    stringData: {
      JWT_SECRET,
      ADMIN_TOKENS: 'operator:an-operator-of-the-bench',
      REDIS_URL: redisUrl,
      DATABASE_URL: databaseUrl,
    },
  });
}
