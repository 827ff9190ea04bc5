/**
 * Sentinels promote a replica during a sale. Every process finds the new master by itself, the sale is checked before it
 * sells again, and no acknowledged reservation is lost, also when the old master returns.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useRetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { useReplicated } from '../../harness/servers/replication.ts';
import { useSentinels } from '../../harness/servers/sentinels.ts';
import { usePause } from '../../harness/servers/server-process.ts';

// Generous: the disk may be busy with other tests.
const REPLICATED = { DURABILITY: 'replicated', REDIS_COMMAND_TIMEOUT_MS: '4000' };
const MAX_LAG_SECONDS = 5;
/** Long, so that a busy machine causes no failover. */
const DOWN_AFTER_MS = 3_000;
/** Time to detect the failure, elect, promote, and wait until the old master has stopped writing. */
const FAILOVER = { timeoutMs: 40_000 };

/** A sale with a crowd at two hot paths, on a master with two replicas and three sentinels. */
async function startSale(t: TestContext, { demanded = 1 } = {}) {
  const redis = await useReplicated(t, {
    replicas: 2,
    demanded,
    maxLagSeconds: MAX_LAG_SECONDS,
  });
  const sentinels = await useSentinels(t, redis.master, { downAfterMs: DOWN_AFTER_MS });
  const database = await useDatabase(t);
  const servers = await useConnections(t, sentinels.url, database.url);
  await usePersister(t, sentinels.url, database.url, {}, REPLICATED);
  const hotPaths = [
    await useHotPath(t, sentinels.url, REPLICATED),
    await useHotPath(t, sentinels.url, REPLICATED),
  ];
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const crowd = await useRetryingCrowd(t, hotPaths, saleId, { lanes: 10 });
  await eventually(() => assert.ok(crowd.sold.size > 200));

  const promoted = async () => {
    const port = await eventually(async () => {
      const masterPort = await sentinels.masterPort();
      assert.notEqual(masterPort, redis.master.port);
      return masterPort;
    }, FAILOVER);
    return redis.replicas.find((replica) => replica.port === port)!;
  };
  /** Purchases succeed again, and every acknowledged reservation exists. */
  const assertSellsAgain = async (after: number) => {
    await eventually(() => assert.ok(crowd.soldAt.at(-1)! > after + 500), FAILOVER);
    t.diagnostic(
      `${Math.round(crowd.firstSaleAfter(after)!)} ms until the next purchase, ${crowd.sold.size} reservations, ${crowd.retries} retries`,
    );
    await crowd.stop();
    for (const hotPath of hotPaths) await crowd.assertSameResponses(hotPath);
    assert.equal(new Set(crowd.sold.values()).size, crowd.sold.size);
    await assertPromisesHold(servers, saleId);
  };
  return { redis, sentinels, servers, hotPaths, saleId, crowd, promoted, assertSellsAgain };
}

describe('after a failover', { concurrency: 2 }, () => {
  it('a killed master is replaced, and sells nothing when it returns', async (t) => {
    const { redis, saleId, crowd, promoted, assertSellsAgain } = await startSale(t);
    await redis.master.kill();
    const killedAt = performance.now();
    await promoted();
    await eventually(() => assert.ok(crowd.firstSaleAfter(killedAt + 100)), FAILOVER);
    // It has all its data, and considers itself a master until a sentinel reconfigures it.
    await redis.master.start();
    const isolated = await useHotPath(t, redis.master.url, REPLICATED, false);
    await assertSellsNothing(isolated, redis.master, saleId);
    await assertSellsAgain(killedAt + 100);
  });

  it('a frozen master is replaced, and sells nothing when it resumes', async (t) => {
    const { redis, saleId, crowd, promoted, assertSellsAgain } = await startSale(t);
    // Its buyers reach only the old master, as in a network partition.
    const isolated = await useHotPath(t, redis.master.url, REPLICATED);
    assert.equal((await isolated.buy(saleId, 'isolated-before')).status, 201);
    await usePause(t, redis.master);
    const pausedAt = performance.now();
    await promoted();
    await eventually(() => assert.ok(crowd.firstSaleAfter(pausedAt + 100)), FAILOVER);
    redis.master.resume();
    await assertSellsNothing(isolated, redis.master, saleId);
    await assertSellsAgain(pausedAt + 100);
  });

  it('a master that an operator replaces by a replica keeps no reservation for itself', async (t) => {
    // With one of two, the replica that is not promoted would still acknowledge what the promoted one lacks: Sentinel
    // makes a replica of the old master only some seconds later.
    const { sentinels, crowd, promoted, assertSellsAgain } = await startSale(t, { demanded: 2 });
    const handedOverAt = performance.now();
    await sentinels.handOver();
    const master = await promoted();
    await eventually(async () => {
      const info = await withRedis(master.url, (redis) => redis.info('replication'));
      assert.match(info, /^connected_slaves:2\r$/m);
    }, FAILOVER);
    await assertSellsAgain(performance.now());
    const times = [handedOverAt, ...crowd.soldAt.filter((time) => time > handedOverAt)];
    const pauses = times.slice(1).map((time, index) => time - times[index]!);
    t.diagnostic(`at most ${Math.round(Math.max(...pauses))} ms without a purchase`);
  });
});

/** Every purchase fails until the server has become a replica. */
async function assertSellsNothing(
  hotPath: TestHotPath,
  server: TestRedis,
  saleId: string,
): Promise<void> {
  await withRedis(server.url, async (redis) => {
    for (let i = 0; (await redis.role())[0] !== 'slave'; i++) {
      const { status, body } = await hotPath.buy(saleId, `isolated-${i}`, { key: 'k' });
      assert.equal(status, 503, JSON.stringify(body));
      await sleep(50);
    }
  });
}
