/**
 * The servers of deploy/compose/cluster.yml, started here with its arguments and joined by its script, are a cluster on
 * which the engine sells under DURABILITY=replicated. harness/servers/redis-cluster.ts starts the clusters of other
 * tests in this folder, of which only the first master has replicas, or none.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { redisCommand, repliesToPing, withRedis } from '../../harness/servers/redis.ts';
import {
  asTestServer,
  ServerProcess,
  type TestServer,
} from '../../harness/servers/server-process.ts';
import { FILE, type Scope, use } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { interpolated, mergedCompose, nodesOf } from './compose-cluster.ts';

/** A node's second port is 10,000 above. Up to here it is below those that the operating system chooses, 32768 and up. */
const LAST_PORT = 22_767;
const MASTERS = 3;
const SLOTS = 16_384;

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

const REPLICATED = { DURABILITY: 'replicated' };

const ports = await nodePorts();
const servers = await Promise.all(ports.map((port) => useNode(FILE, port)));
const made = makeCluster(servers);
const url = servers.map((server) => server.url).join(',');
const database = await useDatabase(FILE);
const connections = await useConnections(FILE, url, database.url);

let saleCount = 0;

/** A sale on the shard with the given number. */
async function makeSaleOn(shard: number): Promise<string> {
  for (;;) {
    const saleId = `composed-${++saleCount}`;
    const slot = calculateSlot(saleKey(saleId, 'sale'));
    if (Math.floor((slot * MASTERS) / SLOTS) !== shard) continue;
    await makeSale(connections, { saleId, stock: 2 });
    return saleId;
  }
}

test('the cluster of the Compose file sells on every shard, and making it again changes nothing', async (t) => {
  assert.equal(program, 'redis-server');
  assert.match(made, /\[OK\] All 16384 slots covered/);
  const members = await membersSeenBy(servers[0]!);
  const replicas = members.filter((line) => line.includes('slave'));
  assert.equal(replicas.length, nodes.length - MASTERS, members.join('\n'));
  makeCluster(servers);
  assert.deepEqual(await membersSeenBy(servers[0]!), members);

  const hotPath = await useHotPath(t, url, REPLICATED);
  for (let shard = 0; shard < MASTERS; shard++) {
    const saleId = await makeSaleOn(shard);
    const replies = [];
    for (const buyer of ['ada', 'bob', 'cid']) replies.push(await hotPath.buy(saleId, buyer));
    assert.deepEqual(
      replies.map(({ status }) => status),
      [201, 201, 409],
    );
  }
});

test('a shard waits while one of its servers is down, loses nothing, and sells again by itself', async (t) => {
  await usePersister(t, url, database.url, {}, REPLICATED);
  const hotPath = await useHotPath(t, url, REPLICATED);
  const [saleId, elsewhere] = [await makeSaleOn(0), await makeSaleOn(1)];
  const first = await hotPath.buy(saleId, 'ada');
  assert.equal(first.status, 201);

  const { port } = connections.shards.of(saleId).client.options;
  const master = servers.find((server) => server.port === port)!;
  await master.kill();
  const living = servers.filter((server) => server !== master);
  await eventually(async () => {
    const roles = await Promise.all(
      living.map((server) => withRedis(server.url, async (node) => (await node.role())[0])),
    );
    assert.equal(roles.filter((role) => role === 'master').length, MASTERS);
  });
  assert.equal((await hotPath.buy(saleId, 'bob')).status, 503);
  assert.equal((await hotPath.buy(elsewhere, 'bob')).status, 201);

  await master.start();
  await eventually(
    async () => assert.ok([200, 201].includes((await hotPath.buy(saleId, 'bob')).status)),
    { timeoutMs: 60_000 },
  );
  const again = await hotPath.buy(saleId, 'ada');
  assert.deepEqual([again.status, again.body.reservationId], [200, first.body.reservationId]);
  await assertPromisesHold(connections, saleId);
});
