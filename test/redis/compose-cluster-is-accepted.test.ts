/**
 * The servers of deploy/compose/cluster.yml, started here with its arguments and joined by its script, are a cluster on
 * which the engine sells under DURABILITY=replicated.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { redisCommand, repliesToPing, withRedis } from '../../harness/servers/redis.ts';
import {
  asTestServer,
  ServerProcess,
  type TestServer,
} from '../../harness/servers/server-process.ts';
import { type Scope, use } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { interpolated, mergedCompose, nodesOf } from './compose-cluster.ts';

/** A node's second port is this much above its port. */
const BUS_PORT_DISTANCE = 10_000;
/** Where the second port is below those of the operating system's choice. */
const LAST_PORT = 22_767;
const MASTERS = 3;

const file = mergedCompose();
const nodes = nodesOf(file);
const [program, ...args] = nodes[0]![1].command!.map(interpolated);
const script = file.services['redis-cluster']!.command!.map(interpolated);

/** With the arguments of the file; only addresses and directories differ. */
function useNode(scope: Scope, port: number): Promise<TestServer> {
  return use(scope, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-node-'));
    const here = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory];
    const server = await ServerProcess.start({
      command: redisCommand(),
      args: [...args, ...here],
      stopSignal: 'SIGTERM',
      isReady: () => repliesToPing(port),
    });
    return asTestServer(server, `redis://127.0.0.1:${port}`, port, directory);
  });
}

async function nodePorts(): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < nodes.length) {
    const [port] = await findFreePorts(1);
    if (port! <= LAST_PORT) ports.add(port!);
  }
  return [...ports];
}

/** Runs the script of the service that makes the cluster. */
function makeCluster(servers: readonly TestServer[]): string {
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`).join(' ');
  const { status, stdout, stderr } = spawnSync(script[0]!, script.slice(1), {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, NODES: addresses },
  });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

/** Id, role and master of each node, as the first one sees them. */
async function membersSeenBy({ url }: TestServer): Promise<string[]> {
  const text = await withRedis(url, (node) => node.cluster('NODES'));
  const lines = String(text).trim().split('\n');
  return lines
    .map((line) => line.replace('myself,', '').split(' ').slice(0, 4).join(' '))
    .toSorted();
}

test('the cluster of the Compose file sells, and making it again changes nothing', async (t) => {
  assert.equal(program, 'redis-server');
  assert.ok(BUS_PORT_DISTANCE + LAST_PORT < 32_768);
  const ports = await nodePorts();
  const servers = await Promise.all(ports.map((port) => useNode(t, port)));
  assert.match(makeCluster(servers), /\[OK\] All 16384 slots covered/);
  const members = await membersSeenBy(servers[0]!);
  const replicas = members.filter((line) => line.includes('slave'));
  assert.equal(replicas.length, nodes.length - MASTERS, members.join('\n'));
  makeCluster(servers);
  assert.deepEqual(await membersSeenBy(servers[0]!), members);

  const url = servers.map((server) => server.url).join(',');
  const shards = await useShards(t, url, {
    requirements: { DURABILITY: 'replicated', NODE_ENV: 'production' },
  });
  const hotPath = await useHotPath(t, url, { DURABILITY: 'replicated' });
  const statusOf = async (saleId: string, buyer: string) =>
    (await hotPath.buy(saleId, buyer)).status;
  const shares = new Set<number>();
  for (let i = 0; shares.size < MASTERS; i++) {
    const saleId = `composed-${i}`;
    const share = Math.floor((calculateSlot(saleKey(saleId, 'sale')) * MASTERS) / 16_384);
    if (shares.has(share)) continue;
    shares.add(share);
    await openSale(shards, { phone: 1 }, { saleId });
    assert.equal(await statusOf(saleId, 'ada'), 201);
    assert.equal(await statusOf(saleId, 'bob'), 409);
  }
});
