/** The crowds, and what operators do meanwhile. */
import { type Cluster, NODES } from './cluster.ts';
import type { Shape } from './crowd.ts';

export interface Scenario {
  name: string;
  title: string;
  /** Seconds, and buyers in multiples of what one pod can serve. */
  shape: Shape;
  /** Of the autoscaler; otherwise that of `k8s/hpa.yaml`. */
  minReplicas?: number;
  /** An operator's work meanwhile. */
  meanwhile?: (cluster: Cluster) => Promise<void>;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'cliff',
    title: 'Five pods’ worth of buyers within a second, and three pods',
    shape: [
      [0, 0.3],
      [30, 0.3],
      [31, 5],
      [180, 5],
      [181, 0.3],
      [200, 0.3],
    ],
  },
  {
    name: 'prepared',
    title: 'The same, with ten pods since before',
    shape: [
      [0, 0.3],
      [30, 0.3],
      [31, 5],
      [120, 5],
      [121, 0.3],
      [140, 0.3],
    ],
    minReplicas: 10,
  },
  {
    name: 'ramp',
    title: 'A crowd that grows for four minutes',
    shape: [
      [0, 0.3],
      [20, 0.3],
      [260, 5],
      [300, 5],
    ],
  },
  {
    name: 'twice',
    title: 'Two waves, and the way down',
    shape: [
      [0, 0.3],
      [20, 0.3],
      [21, 4],
      [95, 4],
      [96, 0.3],
      [245, 0.3],
      [246, 4],
      [320, 4],
      [321, 0.3],
      [600, 0.3],
    ],
  },
  {
    name: 'update',
    title: 'A rolling update',
    shape: [
      [0, 1],
      [150, 1],
    ],
    meanwhile: async (cluster) => {
      await cluster.kubectl('rollout', 'restart', 'deployment/hot-path');
      await cluster.kubectl('rollout', 'status', 'deployment/hot-path', '--timeout=140s');
    },
  },
  {
    name: 'drain',
    title: 'A node is drained',
    shape: [
      [0, 1],
      [150, 1],
    ],
    meanwhile: async (cluster) => {
      const drain = ['drain', NODES[0], '--ignore-daemonsets', '--delete-emptydir-data'];
      console.log(await cluster.kubectl(...drain, '--timeout=140s'));
      await cluster.kubectl('uncordon', NODES[0]);
    },
  },
];
