/** A variant of the engine: one mistake, and a scenario in which it breaks a promise. */
import type { Mistake } from '../../harness/engine/broken-copy.ts';
import type { ViolationKind } from '../check/violation.ts';
import type { Durability } from '../stack.ts';
import type { TopologyName } from '../topologies/topology.ts';
import type { Steps } from './steps.ts';

export interface Variant {
  name: string;
  mistake: Mistake;
  /** What the checker must find, besides other kinds. */
  expected: ViolationKind;
  stock: number;
  holdSeconds: number;
  /** By default the SKU has no limit of its own. */
  skuLimit?: number;
  /** One Redis server by default. */
  topology?: TopologyName;
  /** `safe` by default, which only one server has. */
  durability?: Durability;
  act: (steps: Steps) => Promise<void>;
}

export const PERSISTERS = ['persister-1', 'persister-2'] as const;
/** Longer than holds of one second and their sweep need. */
export const HOLD_OVER_MS = 1_600;
