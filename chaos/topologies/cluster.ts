/** A Redis Cluster of three masters with a replica each. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import calculateSlot from 'cluster-key-slot';
import type { Redis } from 'ioredis';
import { eventually } from '../../harness/eventually.ts';
import { formCluster, moveSlot, nodeArgs } from '../../harness/servers/redis-cluster.ts';
import { handOver } from '../../harness/servers/replication.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { type Peer, PeerNetwork } from './peer-network.ts';
import { replicationArgs, untilReplicasHaveAll } from './replication.ts';
import {
  startServer,
  type Topology,
  type TopologyChoices,
  type TopologyServer,
} from './topology.ts';

const NODES = 6;
const MASTERS = 3;
/** A busy machine may delay a node's replies for a second. */
const NODE_TIMEOUT_MS = 2_000;
const REPLY_MS_MAX = 500;
const SETTLED_MS_MAX = 60_000;
const TAKEOVER_MS_MAX = 5_500;
const MOVE_MS_MAX = 60_000;

interface Node extends TopologyServer {
  peer: Peer;
}

/** What a node says about itself. */
interface OwnView {
  node: Node;
  id: string;
  isMaster: boolean;
  /** Of a replica. */
  masterId: string;
  epoch: number;
  /** It is a master that owns the sale's slot. */
  hasSlot: boolean;
}

export async function startClusterTopology(choices: TopologyChoices): Promise<Topology> {
  const network = new PeerNetwork();
  const nodes: Node[] = [];
  try {
    for (let i = 1; i <= NODES; i++) {
      const peer = await network.add();
      const { port, announcedPort } = peer;
      const node = await startServer(`redis-${i}`, choices, {
        port,
        extra: { announcedPort, peer },
        args: [...nodeArgs(peer.busPort), ...replicationArgs(peer, 1), ...ownSettings(peer)],
      });
      nodes.push(node);
    }
    await formCluster(
      nodes.map((server) => ({
        server,
        port: server.announcedPort,
        busPort: server.peer.announcedBusPort,
      })),
      (index) => index - MASTERS,
    );
  } catch (error) {
    await Promise.all([...nodes.map((node) => node.stop()), network.close()]);
    throw error;
  }
  return new ClusterTopology(nodes, network, calculateSlot(saleKey(choices.saleId, 'sale')));
}

function ownSettings({ announcedPort, announcedBusPort }: Peer): string[] {
  const settings = {
    'cluster-node-timeout': NODE_TIMEOUT_MS,
    'cluster-announce-ip': '127.0.0.1',
    'cluster-announce-port': announcedPort,
    'cluster-announce-bus-port': announcedBusPort,
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

class ClusterTopology implements Topology {
  readonly servers: readonly Node[];
  readonly #network: PeerNetwork;
  readonly #slot: number;

  constructor(nodes: readonly Node[], network: PeerNetwork, slot: number) {
    this.servers = nodes;
    this.#network = network;
    this.#slot = slot;
  }

  get url(): string {
    return this.servers.map(({ announcedPort }) => `redis://127.0.0.1:${announcedPort}`).join(',');
  }

  get ports(): ReadonlyMap<number, number> {
    return new Map(this.servers.map(({ announcedPort, port }) => [announcedPort, port]));
  }

  async master(): Promise<Node> {
    return this.#ownerIn(await this.#views()).node;
  }

  async replica(): Promise<Node | undefined> {
    const views = await this.#views();
    const { id } = this.#ownerIn(views);
    return views.find(({ isMaster, masterId }) => !isMaster && masterId === id)?.node;
  }

  async untilSettled(): Promise<void> {
    await eventually(
      async () => {
        const views = await this.#views();
        assert.equal(views.length, NODES);
        assert.equal(views.filter(({ hasSlot }) => hasSlot).length, 1);
        const { node, id } = this.#ownerIn(views);
        assert.ok(views.some(({ isMaster, masterId }) => !isMaster && masterId === id));
        await untilReplicasHaveAll(node.client, 1);
        const states = await Promise.all(this.servers.map(({ client }) => client.cluster('INFO')));
        for (const state of states) assert.match(state, /cluster_state:ok/);
      },
      { timeoutMs: SETTLED_MS_MAX },
    );
  }

  isolate(server: TopologyServer): void {
    this.#network.isolate((server as Node).peer);
  }

  heal(): void {
    this.#network.heal();
  }

  async handOver(): Promise<void> {
    const { client, isMaster } = await this.#successor();
    await handOver(() => client.cluster('FAILOVER'), isMaster);
  }

  async prepareTakeover(): Promise<() => Promise<void>> {
    const { client, isMaster } = await this.#successor();
    return async () => {
      await client.cluster('FAILOVER', 'TAKEOVER');
      await eventually(isMaster, { timeoutMs: TAKEOVER_MS_MAX });
    };
  }

  /** The target's replica has the keys before the slot is assigned. Repeats what failed: half a move serves nobody. */
  async moveSlot(): Promise<void> {
    const views = await this.#views();
    const from = this.#ownerIn(views);
    const to = views.find(({ isMaster, hasSlot }) => isMaster && !hasSlot);
    if (!to) throw new Error('no other master responds');
    const ownerOf = ({ node, id }: OwnView) => ({ client: node.client, id, port: node.port });
    await eventually(
      () =>
        moveSlot(this.#slot, { from: ownerOf(from), to: ownerOf(to) }, () =>
          untilReplicasHaveAll(to.node.client, 1),
        ),
      { timeoutMs: MOVE_MS_MAX },
    );
  }

  async stop(): Promise<void> {
    this.#network.heal();
    await Promise.all(this.servers.map((node) => node.stop()));
    await this.#network.close();
  }

  /** A replica, and an assertion that it has become the master. */
  async #successor(): Promise<{ client: Redis; isMaster: () => Promise<void> }> {
    const replica = await this.replica();
    if (!replica) throw new Error('the master has no replica');
    const isMaster = async () => assert.equal((await this.master()).name, replica.name);
    return { client: replica.client, isMaster };
  }

  #ownerIn(views: readonly OwnView[]): OwnView {
    const [owner] = views
      .filter(({ hasSlot }) => hasSlot)
      .toSorted((one, other) => other.epoch - one.epoch);
    if (!owner) throw new Error(`no node says that it owns slot ${this.#slot}`);
    return owner;
  }

  /** Those of the nodes that respond. */
  async #views(): Promise<OwnView[]> {
    const views = await Promise.all(
      this.servers.map((node) =>
        Promise.race([
          viewOf(node, this.#slot).catch(() => undefined),
          sleep(REPLY_MS_MAX, undefined, { ref: false }),
        ]),
      ),
    );
    return views.filter((view) => view !== undefined);
  }
}

async function viewOf(node: Node, slot: number): Promise<OwnView> {
  const nodes = (await node.client.cluster('NODES')) as string;
  // <id> <address> <flags> <master> <ping sent> <pong received> <epoch> <link state> <slots> …
  const [id, , flags, masterId, , , epoch, , ...slots] = nodes
    .split('\n')
    .find((line) => line.includes('myself'))!
    .split(' ');
  const isMaster = flags!.includes('master');
  const hasSlot = slots.some((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return first! <= slot && slot <= last!;
  });
  return {
    node,
    id: id!,
    isMaster,
    masterId: masterId!,
    epoch: Number(epoch),
    hasSlot: isMaster && hasSlot,
  };
}
