import assert from 'node:assert/strict';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { useRetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { ADMIN_TOKENS } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale, openSale } from '../../harness/sales/sales.ts';
import { useConnections, useShards } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { moveSlot, PROMPT_FAILOVER, useCluster } from '../../harness/servers/redis-cluster.ts';
import { PROMPT } from '../../harness/servers/replication.ts';
import { use } from '../../harness/use.ts';
import { principalOf } from '../../src/admin/sign-in/authenticate.ts';
import { SignInCodes } from '../../src/admin/sign-in/sign-in-codes.ts';
import { readReports } from '../../src/counters/counter-keys.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { verifySale } from '../../src/verify/verify.ts';

const MAX_LAG_SECONDS = 8;

const slotOf = (saleId: string) => calculateSlot(saleKey(saleId, 'sale'));

test('all keys of a sale are on the master that owns its slot', async (t) => {
  const cluster = await useCluster(t);
  const shards = await useShards(t, cluster.url);
  const hotPath = await useHotPath(t, cluster.url);
  const owners = new Set<number>();
  const saleIds: string[] = [];
  for (let i = 0; i < 20; i++) {
    const sale = await openSale(shards, { phone: 2 });
    saleIds.push(sale.saleId);
    const replies = await Promise.all(
      ['a', 'b', 'c'].map((buyer) => hotPath.buy(sale.saleId, buyer)),
    );
    assert.deepEqual(
      replies.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 201, 409],
    );
    const owner = cluster.ownerOf(slotOf(sale.saleId));
    const { url } = cluster.masters[owner]!;
    assert.equal(await withRedis(url, (node) => node.exists(saleKey(sale.saleId, 'buyers'))), 1);
    owners.add(owner);
  }
  assert.equal(owners.size, 3, 'twenty sales reach all three nodes');

  // The counts of a sale are on its own node; each node has those of all its sales.
  const totals = await eventually(async () => {
    const byNode = await Promise.all(shards.servers.map(readReports));
    assert.deepEqual(
      byNode.map((reports) => reports.length),
      [1, 1, 1],
    );
    const shown = byNode.flatMap(([report]) => report!.sales.map(({ saleId }) => saleId));
    const leftOut = byNode.reduce((sum, [report]) => sum + report!.moreSales, 0);
    assert.equal(shown.length + leftOut, saleIds.length);
    return shown;
  });
  assert.equal(new Set(totals).size, totals.length, 'no sale is counted on two nodes');

  // The texts of admin too, each on the master that owns its slot.
  const codes = new SignInCodes(ADMIN_TOKENS, shards);
  for (let i = 0; i < 10; i++) {
    const { code } = await codes.create(principalOf(ADMIN_TOKENS[0]!));
    assert.equal((await codes.use(code))?.role, 'viewer');
    assert.equal(await codes.use(code), undefined);
  }
});

test('a sale continues on a replica after a manual failover and after its master dies', async (t) => {
  const REPLICATED = { DURABILITY: 'replicated', REDIS_COMMAND_TIMEOUT_MS: '4000' };
  const cluster = await useCluster(t, {
    replicas: 2,
    args: [
      ...PROMPT,
      ...PROMPT_FAILOVER,
      '--min-replicas-to-write',
      '1',
      '--min-replicas-max-lag',
      `${MAX_LAG_SECONDS}`,
    ],
  });
  const database = await useDatabase(t);
  const servers = await useConnections(t, cluster.url, database.url);
  const startPersister = () => usePersister(t, cluster.url, database.url, {}, REPLICATED);
  const persister = await startPersister();
  const hotPath = await useHotPath(t, cluster.url, REPLICATED);
  let saleId: string;
  for (let i = 0; ; i++) {
    saleId = `clustered-${i}`;
    if (cluster.ownerOf(slotOf(saleId)) === 0) break;
  }
  await makeSale(servers, { saleId, stock: 1_000_000 });
  const crowd = await useRetryingCrowd(t, [hotPath], saleId, { lanes: 10 });
  await eventually(() => assert.ok(crowd.sold.size > 200));
  const assertSellsAgain = async (after: number, how: string) => {
    await eventually(() => assert.ok(crowd.soldAt.at(-1)! > after + 500), { timeoutMs: 30_000 });
    const ms = Math.round(crowd.firstSaleAfter(after)!);
    t.diagnostic(`${how}: ${ms} ms until the next purchase`);
    return ms;
  };

  const [first] = cluster.masters as [TestRedis];
  const [second] = cluster.replicas as [TestRedis];
  await persister.close();
  await withRedis(second.url, (node) => node.cluster('FAILOVER'));
  const role = (server: TestRedis) => withRedis(server.url, async (node) => (await node.role())[0]);
  await eventually(async () => assert.equal(await role(second), 'master'));
  // A purchase closes the sale before the recovery examines it.
  const fence = () => withRedis(second.url, (node) => node.hget(saleKey(saleId, 'sale'), 'fence'));
  await eventually(async () => assert.equal(await fence(), ''));
  await startPersister();
  const ms = await assertSellsAgain(performance.now(), 'handed over');
  // The old master follows the new one, so nobody has to wait until it stops writing.
  assert.ok(ms < MAX_LAG_SECONDS * 1_000, `${ms} ms`);

  await eventually(async () => assert.equal(await role(first), 'slave'));
  await second.kill();
  await assertSellsAgain(performance.now() + 100, 'killed');

  await crowd.stop();
  await crowd.assertSameResponses(hotPath);
  await assertPromisesHold(servers, saleId);
});

test('a sale continues on the master that its slot moves to', async (t) => {
  const cluster = await useCluster(t);
  const database = await useDatabase(t);
  const servers = await useConnections(t, cluster.url, database.url);
  await usePersister(t, cluster.url, database.url);
  const hotPath = await useHotPath(t, cluster.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const crowd = await useRetryingCrowd(t, [hotPath], saleId, { lanes: 10 });
  await eventually(() => assert.ok(crowd.sold.size > 200));

  const slot = slotOf(saleId);
  const at = cluster.ownerOf(slot);
  const [from, to] = await Promise.all(
    [at, (at + 1) % 3].map(async (index) => {
      const { port } = cluster.masters[index]!;
      const client = await use(
        t,
        () => new Redis({ port }),
        (redis) => redis.disconnect(),
      );
      return { client, id: await client.cluster('MYID'), port };
    }),
  );
  await moveSlot(slot, { from: from!, to: to! });
  const movedAt = performance.now();
  await eventually(() => assert.ok(crowd.firstSaleAfter(movedAt) !== undefined));
  // Nothing has told these connections where the slot is now.
  const { checks } = await verifySale(servers, saleId);
  assert.deepEqual(
    checks.filter(({ ok }) => !ok),
    [],
  );
  t.diagnostic(`moved: ${Math.round(crowd.firstSaleAfter(movedAt)!)} ms until the next purchase`);

  await crowd.stop();
  await crowd.assertSameResponses(hotPath);
  await assertPromisesHold(servers, saleId);
  assert.equal(await to!.client.exists(saleKey(saleId, 'buyers')), 1);
});
