/** One Redis server. */
import { startRedis } from '../../harness/servers/redis.ts';
import { asTopologyServer, type Topology, type TopologyChoices } from './topology.ts';

export async function startSingle({ command, appendfsync }: TopologyChoices): Promise<Topology> {
  const redis = await startRedis({ command, appendfsync });
  const server = asTopologyServer(redis, 'redis', { announcedPort: redis.port });
  const isImpossible = (): never => {
    throw new Error('there is one server');
  };
  return {
    url: server.url,
    ports: new Map([[server.port, server.port]]),
    servers: [server],
    master: async () => server,
    replica: async () => undefined,
    untilSettled: async () => undefined,
    isolate: isImpossible,
    heal: () => undefined,
    handOver: isImpossible,
    moveSlot: isImpossible,
    stop: () => server.stop(),
  };
}
