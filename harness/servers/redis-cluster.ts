/** A real Redis Cluster: masters that share the slots evenly, and replicas. */
import assert from 'node:assert/strict';
import type { Redis } from 'ioredis';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { startRedis, type TestRedis, withRedis } from './redis.ts';

const SLOTS = 16_384;
const MASTERS = 3;
const SHARE = Math.ceil(SLOTS / MASTERS);
const KEYS_AT_ONCE = 100;
const MIGRATE_MS_MAX = 5_000;
/** Without replicas, a node that is slower than this makes the cluster refuse commands. */
const NODE_MS_MAX = 5_000;
/** For `args`: the replicas replace a dead master soon. */
export const PROMPT_FAILOVER = ['--cluster-node-timeout', '1000'];

export interface TestCluster {
  /** All nodes, for `REDIS_URL`. */
  url: string;
  masters: TestRedis[];
  /** Replicas of the first master. */
  replicas: TestRedis[];
  /** The index of the master that owns a slot at the start. */
  ownerOf(slot: number): number;
  stop(): Promise<void>;
}

export interface ClusterChoices {
  /** Of the first master. */
  replicas?: number;
  /** The other masters have as many. */
  ofEach?: boolean;
  args?: string[];
}

/** A node, and where the other nodes find it. */
export interface ClusterNode {
  server: TestRedis;
  port: number;
  busPort: number;
}

export function useCluster(scope: Scope, choices: ClusterChoices = {}): Promise<TestCluster> {
  return use(scope, () => startCluster(choices));
}

async function startCluster(choices: ClusterChoices): Promise<TestCluster> {
  const { replicas = 0, ofEach = false } = choices;
  const busPorts = await findFreePorts(MASTERS + replicas * (ofEach ? MASTERS : 1));
  const servers = await Promise.all(
    busPorts.map((port) => startRedis({ args: [...nodeArgs(port), ...(choices.args ?? [])] })),
  );
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    const nodes = servers.map((server, index) => ({
      server,
      port: server.port,
      busPort: busPorts[index]!,
    }));
    await formCluster(nodes, (index) => Math.floor((index - MASTERS) / replicas));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: servers.map(({ url }) => url).join(','),
    masters: servers.slice(0, MASTERS),
    replicas: servers.slice(MASTERS, MASTERS + replicas),
    ownerOf: (slot) => Math.floor(slot / SHARE),
    stop,
  };
}

export function nodeArgs(busPort: number): string[] {
  return [
    '--cluster-enabled',
    'yes',
    '--cluster-port',
    String(busPort),
    '--cluster-node-timeout',
    String(NODE_MS_MAX),
  ];
}

/**
 * The first three nodes become the masters; `masterOf` gives the index of a replica's master. Resolves when the cluster
 * is complete and every replica has the data of its master.
 */
export async function formCluster(
  nodes: readonly ClusterNode[],
  masterOf: (index: number) => number,
): Promise<void> {
  const withNode = <T>(index: number, run: (node: Redis) => Promise<T>) =>
    withRedis(nodes[index]!.server.url, run);
  const [first] = nodes as [ClusterNode];
  for (const i of nodes.keys()) {
    if (i < MASTERS) {
      const last = Math.min(SLOTS, (i + 1) * SHARE) - 1;
      await withNode(i, (node) => node.cluster('ADDSLOTSRANGE', i * SHARE, last));
    }
    if (i > 0) {
      await withNode(i, (node) => node.cluster('MEET', '127.0.0.1', first.port, first.busPort));
    }
  }
  const ids: string[] = [];
  for (const i of nodes.keys()) ids.push(await withNode(i, (node) => node.cluster('MYID')));
  for (const i of nodes.keys()) {
    await withNode(i, (node) =>
      eventually(async () => {
        assert.match(await node.cluster('INFO'), /cluster_state:ok/);
        // The cluster is complete, so this node has discovered its master.
        if (i >= MASTERS) await node.cluster('REPLICATE', ids[masterOf(i)]!);
      }),
    );
  }
  for (let master = 0; master < MASTERS; master++) {
    const count = [...nodes.keys()].filter((i) => i >= MASTERS && masterOf(i) === master).length;
    await withNode(master, (node) =>
      eventually(async () => {
        const info = await node.info('replication');
        assert.equal(info.match(/^slave\d+:.*state=online/gm)?.length ?? 0, count);
      }),
    );
  }
}

/** A master, from which or to which a slot moves. */
export interface SlotOwner {
  client: Redis;
  id: string;
  port: number;
}

/** As `redis-cli --cluster reshard`; can be repeated. `beforeAssigned` runs when the target has the keys and the source does not. */
export async function moveSlot(
  slot: number,
  { from, to }: { from: SlotOwner; to: SlotOwner },
  beforeAssigned: () => Promise<void> = async () => undefined,
): Promise<void> {
  await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  for (;;) {
    const list = ['CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE] as const;
    const keys = (await from.client.call(...list)) as string[];
    if (keys.length === 0) break;
    // A move that timed out may have left copies on the target.
    const target = ['127.0.0.1', to.port, '', 0, MIGRATE_MS_MAX, 'REPLACE'] as const;
    await from.client.call('MIGRATE', ...target, 'KEYS', ...keys);
  }
  await beforeAssigned();
  await to.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  await from.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
}
