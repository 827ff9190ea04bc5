import assert from 'node:assert/strict';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { PatientCrowd } from '../../harness/crowds/patient-crowd.ts';
import { assertPromisesHold } from '../../harness/engine/holds.ts';
import { openSale, useHotPath, useShards } from '../../harness/engine/hot-path.ts';
import { persister } from '../../harness/engine/persister.ts';
import { makeSale } from '../../harness/engine/sales.ts';
import { eventually } from '../../harness/eventually.ts';
import { startCluster } from '../../harness/servers/redis-cluster.ts';
import { PROMPT, using } from '../../harness/servers/replication.ts';
import type { TestRedis } from '../../harness/servers/servers.ts';
import { use, useConnections, useDatabase } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

const slotOf = (saleId: string) => calculateSlot(saleKey(saleId, 'sale'));

test('each sale lives whole on the master that owns its slot', async (t) => {
  const cluster = await use(t, () => startCluster());
  const shards = await useShards(t, cluster.url);
  const hotPath = await useHotPath(t, cluster.url);
  const owners = new Set<number>();
  for (let i = 0; i < 20; i++) {
    const sale = await openSale(shards, { phone: 2 });
    const replies = await Promise.all(
      ['a', 'b', 'c'].map((buyer) => hotPath.buy(sale.saleId, buyer)),
    );
    assert.deepEqual(
      replies.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 201, 409],
    );
    const owner = cluster.ownerOf(slotOf(sale.saleId));
    const { url } = cluster.masters[owner]!;
    assert.equal(await using(url, (node) => node.exists(saleKey(sale.saleId, 'buyers'))), 1);
    owners.add(owner);
  }
  assert.equal(owners.size, 3, 'twenty sales reach all three nodes');
});

test('a sale moves with its slot to a replica, as an operator wishes or when its master dies', async (t) => {
  const REPLICATED = { DURABILITY: 'replicated', REDIS_COMMAND_TIMEOUT_MS: '4000' };
  const cluster = await use(t, () =>
    startCluster({
      replicas: 2,
      args: [...PROMPT, '--min-replicas-to-write', '1', '--min-replicas-max-lag', '5'],
    }),
  );
  const database = await useDatabase(t);
  const servers = await useConnections(t, cluster.url, database.url);
  await persister(t, cluster.url, database.url, {}, REPLICATED);
  const frontEnd = await useHotPath(t, cluster.url, REPLICATED);
  let saleId: string;
  for (let i = 0; ; i++) {
    saleId = `clustered-${i}`;
    if (cluster.ownerOf(slotOf(saleId)) === 0) break;
  }
  await makeSale(servers, { saleId, stock: 1_000_000 });
  const crowd = new PatientCrowd([frontEnd], saleId, { lanes: 10 });
  t.after(() => crowd.leave());
  await eventually(() => assert.ok(crowd.told.size > 200));
  const sellsOn = async (after: number, how: string) => {
    await eventually(() => assert.ok(crowd.toldAt.at(-1)! > after + 500), { timeoutMs: 30_000 });
    t.diagnostic(`${how}: ${Math.round(crowd.firstYesAfter(after)!)} ms until one could buy again`);
  };

  const [first] = cluster.masters as [TestRedis];
  const [second] = cluster.replicas as [TestRedis];
  await using(second.url, (node) => node.cluster('FAILOVER'));
  const role = (server: TestRedis) => using(server.url, async (node) => (await node.role())[0]);
  await eventually(async () => assert.equal(await role(second), 'master'));
  await sellsOn(performance.now(), 'handed over');

  await eventually(async () => assert.equal(await role(first), 'slave'));
  await second.kill();
  await sellsOn(performance.now() + 100, 'killed');

  await crowd.leave();
  await crowd.assertSameAnswers(frontEnd);
  await assertPromisesHold(servers, saleId);
});
