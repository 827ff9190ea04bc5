/** The crowds, and what operators do meanwhile. */
import { type Cluster, NODES } from './cluster.ts';
import type { Shape } from './crowd.ts';

export interface Scenario {
  name: string;
  title: string;
  /** Seconds, and buyers in multiples of what one pod can serve. */
  shape: Shape;
  /** The least pods of the autoscaler; by default two. */
  minReplicas?: number;
  /** An operator's work meanwhile. */
  meanwhile?: (cluster: Cluster) => Promise<void>;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'cliff',
    title: 'Three pods’ worth of buyers within a second, and two pods',
    shape: [
      [0, 0.1],
      [30, 0.1],
      [31, 3],
      [180, 3],
      [181, 0.1],
      [200, 0.1],
    ],
  },
  {
    name: 'prepared',
    title: 'The same, with six pods since before',
    shape: [
      [0, 0.1],
      [30, 0.1],
      [31, 3],
      [120, 3],
      [121, 0.1],
      [140, 0.1],
    ],
    minReplicas: 6,
  },
  {
    name: 'ramp',
    title: 'A crowd that grows for four minutes',
    shape: [
      [0, 0.1],
      [20, 0.1],
      [260, 3],
      [300, 3],
    ],
  },
  {
    name: 'twice',
    title: 'Two waves, two and a half minutes apart',
    shape: [
      [0, 0.1],
      [20, 0.1],
      [21, 2.5],
      [95, 2.5],
      [96, 0.1],
      [245, 0.1],
      [246, 2.5],
      [320, 2.5],
      [321, 0.1],
      [480, 0.1],
    ],
  },
  {
    name: 'update',
    title: 'A rolling update',
    shape: [
      [0, 0.6],
      [150, 0.6],
    ],
    minReplicas: 3,
    meanwhile: async (cluster) => {
      await cluster.kubectl('rollout', 'restart', 'deployment/hot-path');
      await cluster.kubectl('rollout', 'status', 'deployment/hot-path', '--timeout=140s');
    },
  },
  {
    name: 'drain',
    title: 'A node is drained',
    shape: [
      [0, 0.6],
      [150, 0.6],
    ],
    minReplicas: 3,
    meanwhile: async (cluster) => {
      const drain = ['drain', NODES[0], '--ignore-daemonsets', '--delete-emptydir-data'];
      console.log(await cluster.kubectl(...drain, '--timeout=140s'));
      await cluster.kubectl('uncordon', NODES[0]);
    },
  },
];
