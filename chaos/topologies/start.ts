/** Starts the servers of a topology. */
import { unreachable } from '../../src/domain/fault.ts';
import { startClusterTopology } from './cluster.ts';
import { startSentinelTopology } from './sentinel.ts';
import { startSingle } from './single.ts';
import type { Topology, TopologyChoices, TopologyName } from './topology.ts';

export function startTopology(name: TopologyName, choices: TopologyChoices): Promise<Topology> {
  switch (name) {
    case 'single':
      return startSingle(choices);
    case 'cluster':
      return startClusterTopology(choices);
    case 'sentinel':
      return startSentinelTopology(choices);
    default:
      return unreachable(name);
  }
}
