/** A real Redis Cluster: masters that share the slots evenly, the first of them optionally with replicas. */
import assert from 'node:assert/strict';
import type { Redis } from 'ioredis';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { startRedis, type TestRedis, withRedis } from './redis.ts';

const SLOTS = 16_384;
const MASTERS = 3;

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
  replicas?: number;
  args?: string[];
}

export function useCluster(scope: Scope, choices: ClusterChoices = {}): Promise<TestCluster> {
  return use(scope, () => startCluster(choices));
}

async function startCluster(choices: ClusterChoices): Promise<TestCluster> {
  const busPorts = await findFreePorts(MASTERS + (choices.replicas ?? 0));
  const servers = await Promise.all(
    busPorts.map((port) =>
      startRedis({
        args: [
          '--cluster-enabled',
          'yes',
          '--cluster-port',
          String(port),
          '--cluster-node-timeout',
          '1000',
          ...(choices.args ?? []),
        ],
      }),
    ),
  );
  const withNode = <T>(index: number, run: (node: Redis) => Promise<T>) =>
    withRedis(servers[index]!.url, run);
  const share = Math.ceil(SLOTS / MASTERS);
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    for (const i of servers.keys()) {
      if (i < MASTERS) {
        const last = Math.min(SLOTS, (i + 1) * share) - 1;
        await withNode(i, (node) => node.cluster('ADDSLOTSRANGE', i * share, last));
      }
      if (i > 0) {
        await withNode(i, (node) =>
          node.cluster('MEET', '127.0.0.1', servers[0]!.port, busPorts[0]!),
        );
      }
    }
    const firstId = await withNode(0, (node) => node.cluster('MYID'));
    for (const i of servers.keys()) {
      await withNode(i, (node) =>
        eventually(async () => {
          assert.match(await node.cluster('INFO'), /cluster_state:ok/);
          // The cluster is complete, so this node has discovered the first one.
          if (i >= MASTERS) await node.cluster('REPLICATE', firstId);
        }),
      );
    }
    await withNode(0, (node) =>
      eventually(async () => {
        const info = await node.info('replication');
        assert.equal(info.match(/^slave\d+:.*state=online/gm)?.length ?? 0, choices.replicas ?? 0);
      }),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: servers.map(({ url }) => url).join(','),
    masters: servers.slice(0, MASTERS),
    replicas: servers.slice(MASTERS),
    ownerOf: (slot) => Math.floor(slot / share),
    stop,
  };
}
