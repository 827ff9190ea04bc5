/** The crowds, and what operators do meanwhile. */
import type { Limits } from './autoscaler.ts';
import { type Cluster, NODES } from './cluster.ts';
import type { Shape } from './crowd.ts';

export interface Scenario {
  name: string;
  title: string;
  /** Seconds, and buyers in multiples of what one pod can serve. */
  shape: Shape;
  pods: Limits;
  /** An operator's work meanwhile. */
  meanwhile?: (cluster: Cluster) => Promise<void>;
}

/** Fewer than in `k8s/hpa.yaml`, so that a crowd that is too large for the least still fits on a small machine. */
const FEW: Limits = { least: 2, most: 10 };
/** As many as at most: only the operator's work adds or removes pods. */
const THREE: Limits = { least: 3, most: 3 };
/** While there is no crowd. A purchase that comes alone costs much more CPU time than one in a crowd. */
const QUIET = 0.01;
const CLIFF: Shape = [
  [0, QUIET],
  [20, QUIET],
  [21, 3],
  [170, 3],
  [171, QUIET],
  [180, QUIET],
];

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'cliff',
    title: 'Three pods’ worth of buyers within a second, and two pods',
    shape: CLIFF,
    pods: FEW,
  },
  {
    name: 'prepared',
    title: 'The same, with six pods since before',
    shape: CLIFF,
    pods: { ...FEW, least: 6 },
  },
  {
    name: 'ramp',
    title: 'A crowd that grows for four minutes',
    shape: [
      [0, QUIET],
      [20, QUIET],
      [260, 3],
      [300, 3],
    ],
    pods: FEW,
  },
  {
    name: 'twice',
    title: 'Two waves, two and a half minutes apart, then eight quiet minutes',
    shape: [
      [0, QUIET],
      [20, QUIET],
      [21, 2.5],
      [95, 2.5],
      [96, QUIET],
      [245, QUIET],
      [246, 2.5],
      [320, 2.5],
      [321, QUIET],
      [800, QUIET],
    ],
    pods: FEW,
  },
  {
    name: 'update',
    title: 'A rolling update',
    shape: [
      [0, 0.6],
      [150, 0.6],
    ],
    pods: THREE,
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
    pods: THREE,
    meanwhile: async (cluster) => {
      const drain = ['drain', NODES[0], '--ignore-daemonsets', '--delete-emptydir-data'];
      console.log(await cluster.kubectl(...drain, '--timeout=140s'));
      await cluster.kubectl('uncordon', NODES[0]);
    },
  },
];
