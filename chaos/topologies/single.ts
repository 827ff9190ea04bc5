/** One Redis server. */
import { findFreePorts } from '../../src/process/free-port.ts';
import { startServer, type Topology, type TopologyChoices } from './topology.ts';

export async function startSingle(choices: TopologyChoices): Promise<Topology> {
  const [port] = (await findFreePorts(1)) as [number];
  const server = await startServer('redis', choices, { port, extra: { announcedPort: port } });
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
    prepareTakeover: isImpossible,
    moveSlot: isImpossible,
    stop: () => server.stop(),
  };
}
