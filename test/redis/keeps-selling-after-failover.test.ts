/**
 * Sentinels promote a replica while buyers press. Every process finds the new master by itself, the sale is checked
 * before it sells on, and of what anybody was told nothing is lost, also when the old master comes back.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { startReplicated } from '../../harness/servers/replication.ts';
import { useSentinels } from '../../harness/servers/sentinels.ts';
import { use } from '../../harness/use.ts';

// Generous: master and replicas sync to a disk that other tests may keep busy.
const REPLICATED = { DURABILITY: 'replicated', REDIS_COMMAND_TIMEOUT_MS: '4000' };
const MAX_LAG_SECONDS = 5;
/** Giving the master up, electing, promoting, and then waiting until the old one has fallen silent. */
const FAILOVER = { timeoutMs: 40_000 };

/** A sale with a crowd at two front ends, on a master with two replicas that three sentinels watch. */
async function startSale(t: TestContext) {
  const redis = await use(t, () =>
    startReplicated({
      replicas: 2,
      demanded: 1,
      maxLagSeconds: MAX_LAG_SECONDS,
    }),
  );
  const sentinels = await useSentinels(t, redis.master);
  const database = await useDatabase(t);
  const servers = await useConnections(t, sentinels.url, database.url);
  await usePersister(t, sentinels.url, database.url, {}, REPLICATED);
  const frontEnds = [
    await useHotPath(t, sentinels.url, REPLICATED),
    await useHotPath(t, sentinels.url, REPLICATED),
  ];
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const crowd = new RetryingCrowd(frontEnds, saleId, { lanes: 10 });
  t.after(() => crowd.stop());
  await eventually(() => assert.ok(crowd.sold.size > 200));

  const promoted = async () => {
    const port = await eventually(async () => {
      const masterPort = await sentinels.masterPort();
      assert.notEqual(masterPort, redis.master.port);
      return masterPort;
    }, FAILOVER);
    return redis.replicas.find((replica) => replica.port === port)!;
  };
  /** That everybody sells on, and that all that was told is true. */
  const assertSellsOn = async (after: number) => {
    await eventually(() => assert.ok(crowd.soldAt.at(-1)! > after + 500), FAILOVER);
    t.diagnostic(
      `${Math.round(crowd.firstSaleAfter(after)!)} ms until somebody could buy again, ${crowd.sold.size} told yes, ${crowd.retries} told to come back`,
    );
    await crowd.stop();
    for (const frontEnd of frontEnds) await crowd.assertSameResponses(frontEnd);
    assert.equal(new Set(crowd.sold.values()).size, crowd.sold.size);
    await assertPromisesHold(servers, saleId);
  };
  return { redis, servers, frontEnds, saleId, crowd, promoted, assertSellsOn };
}

test('a master that is killed is replaced, and not believed when it comes back', async (t) => {
  const { redis, saleId, crowd, promoted, assertSellsOn } = await startSale(t);
  await redis.master.kill();
  const killedAt = performance.now();
  await promoted();
  await eventually(() => assert.ok(crowd.firstSaleAfter(killedAt + 100)), FAILOVER);
  // With all its data, and a master by its own word until a sentinel tells it otherwise.
  await redis.master.start();
  const isolated = await useHotPath(t, redis.master.url, REPLICATED, false);
  await pressInVain(isolated, redis.master, saleId);
  await assertSellsOn(killedAt + 100);
});

test('a master that stood still is replaced, and sells nothing when it moves again', async (t) => {
  const { redis, saleId, crowd, promoted, assertSellsOn } = await startSale(t);
  // For buyers who only ever reach the old master, as if both were cut off from the rest.
  const isolated = await useHotPath(t, redis.master.url, REPLICATED);
  assert.equal((await isolated.buy(saleId, 'isolated-before')).status, 201);
  redis.master.pause();
  const pausedAt = performance.now();
  await promoted();
  await eventually(() => assert.ok(crowd.firstSaleAfter(pausedAt + 100)), FAILOVER);
  redis.master.resume();
  await pressInVain(isolated, redis.master, saleId);
  await assertSellsOn(pausedAt + 100);
});

/** Until the server was made a replica. */
async function pressInVain(
  frontEnd: TestHotPath,
  server: TestRedis,
  saleId: string,
): Promise<void> {
  await withRedis(server.url, async (redis) => {
    for (let i = 0; (await redis.role())[0] !== 'slave'; i++) {
      const { status, body } = await frontEnd.buy(saleId, `isolated-${i}`, { key: 'k' });
      assert.equal(status, 503, JSON.stringify(body));
      await sleep(50);
    }
  });
}
