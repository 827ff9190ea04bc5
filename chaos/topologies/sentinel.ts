/** A master with two replicas, and three sentinels that watch them. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { handOver } from '../../harness/servers/replication.ts';
import { type Sentinels, startSentinels } from '../../harness/servers/sentinels.ts';
import { type Peer, PeerNetwork } from './peer-network.ts';
import { replicationArgs, untilReplicasHaveAll } from './replication.ts';
import {
  startServer,
  type Topology,
  type TopologyChoices,
  type TopologyServer,
} from './topology.ts';

const SERVERS = 3;
const REPLICAS = SERVERS - 1;
const REPLY_MS_MAX = 500;
/** Sentinels wait before they make a returned master a replica. */
const SETTLED_MS_MAX = 60_000;

interface Server extends TopologyServer {
  peer: Peer;
}

export async function startSentinelTopology(choices: TopologyChoices): Promise<Topology> {
  const network = new PeerNetwork();
  const servers: Server[] = [];
  try {
    for (let i = 1; i <= SERVERS; i++) {
      const peer = await network.add();
      const [master] = servers;
      const { port, announcedPort } = peer;
      const server = await startServer(`redis-${i}`, choices, {
        port,
        extra: { announcedPort, peer },
        args: [
          ...replicationArgs(peer, REPLICAS),
          ...(master ? ['--replicaof', '127.0.0.1', String(master.announcedPort)] : []),
        ],
      });
      servers.push(server);
    }
    const [master] = servers as [Server];
    await eventually(() => untilReplicasHaveAll(master.client, REPLICAS));
    const sentinels = await startSentinels({
      port: master.announcedPort,
      command: choices.command,
    });
    return new SentinelTopology(servers, network, sentinels);
  } catch (error) {
    await Promise.all([...servers.map((server) => server.stop()), network.close()]);
    throw error;
  }
}

class SentinelTopology implements Topology {
  readonly servers: readonly Server[];
  readonly #network: PeerNetwork;
  readonly #sentinels: Sentinels;

  constructor(servers: readonly Server[], network: PeerNetwork, sentinels: Sentinels) {
    this.servers = servers;
    this.#network = network;
    this.#sentinels = sentinels;
  }

  get url(): string {
    return this.#sentinels.url;
  }

  get ports(): ReadonlyMap<number, number> {
    return new Map([
      ...this.servers.map(({ announcedPort, port }) => [announcedPort, port] as const),
      ...this.#sentinels.ports.map((port) => [port, port] as const),
    ]);
  }

  async master(): Promise<Server> {
    const port = await this.#sentinels.masterPort();
    return this.servers.find(({ announcedPort }) => announcedPort === port)!;
  }

  async replica(): Promise<Server | undefined> {
    const master = await this.master();
    for (const server of this.servers) {
      if (server !== master && (await roleOf(server)) === 'slave') return server;
    }
    return undefined;
  }

  async untilSettled(): Promise<void> {
    await eventually(
      async () => {
        const master = await this.master();
        for (const server of this.servers) {
          assert.equal(await roleOf(server), server === master ? 'master' : 'slave');
        }
        await untilReplicasHaveAll(master.client, REPLICAS);
      },
      { timeoutMs: SETTLED_MS_MAX },
    );
  }

  isolate(server: TopologyServer): void {
    this.#network.isolate((server as Server).peer);
  }

  heal(): void {
    this.#network.heal();
  }

  async handOver(): Promise<void> {
    const before = await this.master();
    await handOver(
      () => this.#sentinels.handOver(),
      async () => assert.notEqual((await this.master()).name, before.name),
    );
  }

  prepareTakeover(): never {
    throw new Error('sentinels choose the moment themselves');
  }

  moveSlot(): never {
    throw new Error('only a cluster has slots');
  }

  async stop(): Promise<void> {
    this.#network.heal();
    await this.#sentinels.stop();
    await Promise.all(this.servers.map((server) => server.stop()));
    await this.#network.close();
  }
}

/** Undefined: the server does not respond. */
async function roleOf({ client }: Server): Promise<string | undefined> {
  const role = client.role().then(([name]) => name as string);
  return Promise.race([
    role.catch(() => undefined),
    sleep(REPLY_MS_MAX, undefined, { ref: false }),
  ]);
}
