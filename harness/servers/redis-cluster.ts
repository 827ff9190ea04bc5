/** A real Redis Cluster: masters that share the slots evenly, the first of them with replicas where wanted. */
import assert from 'node:assert/strict';
import type { Redis } from 'ioredis';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { using } from './replication.ts';
import { startRedis, type TestRedis } from './servers.ts';

const SLOTS = 16_384;
const MASTERS = 3;

export interface TestCluster {
  /** For `REDIS_URL`: all nodes. */
  url: string;
  masters: TestRedis[];
  /** Of the first master. */
  replicas: TestRedis[];
  /** Which of the masters owns a slot at the start. */
  ownerOf(slot: number): number;
  stop(): Promise<void>;
}

export async function startCluster(
  choices: { replicas?: number; args?: string[] } = {},
): Promise<TestCluster> {
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
  const ask = <T>(index: number, question: (node: Redis) => Promise<T>) =>
    using(servers[index]!.url, question);
  const share = Math.ceil(SLOTS / MASTERS);
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    for (const i of servers.keys()) {
      if (i < MASTERS) {
        const last = Math.min(SLOTS, (i + 1) * share) - 1;
        await ask(i, (node) => node.cluster('ADDSLOTSRANGE', i * share, last));
      }
      if (i > 0) {
        await ask(i, (node) => node.cluster('MEET', '127.0.0.1', servers[0]!.port, busPorts[0]!));
      }
    }
    const firstId = await ask(0, (node) => node.cluster('MYID'));
    for (const i of servers.keys()) {
      await ask(i, (node) =>
        eventually(async () => {
          assert.match(await node.cluster('INFO'), /cluster_state:ok/);
          // Known to it by now.
          if (i >= MASTERS) await node.cluster('REPLICATE', firstId);
        }),
      );
    }
    await ask(0, (node) =>
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
