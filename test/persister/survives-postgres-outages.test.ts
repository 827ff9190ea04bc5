/**
 * PostgreSQL may stop, freeze or be unavailable at start: purchases continue, no event is lost, and a persister still
 * closes quickly.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { pendingCount, saleState } from '../../harness/sales/stream.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { useOutage } from '../../harness/servers/postgres-faults.ts';
import { FILE } from '../../harness/use.ts';

const { redis, postgres, servers } = await useStoppableServers(FILE);

describe('while PostgreSQL is unavailable', () => {
  it('no event is lost, writes are retried, and one outage is counted', async (test) => {
    const { saleId } = await makeSale(servers);
    const one = await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 1_000, batchSize: 50, prefix: 'before' });
    await untilRows(servers, saleId, 1_000);
    assert.deepEqual(await one.missing(), []);

    const endOutage = await useOutage(test, postgres, 'stopped');
    await buyMany(servers.shards, saleId, { count: 3_000, batchSize: 50, prefix: 'during' });
    await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']));
    await eventually(async () => assert.ok((await one.metric('lag_events')) >= 3_000));
    await eventually(async () => assert.ok((await one.metric('lag_seconds')) > 1));
    await eventually(
      async () => assert.ok((await one.metric('postgres_failures_total')) >= 5, 'too few attempts'),
      { timeoutMs: 5_000 },
    );
    await endOutage();

    await untilRows(servers, saleId, 4_000);
    await eventually(async () => {
      assert.equal((await saleState(servers.shards, saleId)).drained, 4_000);
      assert.equal(await pendingCount(servers.shards, saleId), 0);
      assert.deepEqual(await one.missing(), []);
    });
    assert.equal(await one.metric('postgres_outages_total'), 1);
  });

  it('because it is frozen, the persister notices, and no event is lost', async (test) => {
    const { saleId } = await makeSale(servers);
    const one = await usePersister(test, redis.url, postgres.url, { silenceMs: 500 });
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
    await untilRows(servers, saleId, 100);
    const endOutage = await useOutage(test, postgres, 'frozen');
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'during' });
    await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']), {
      // Less than the connect timeout, which would also reveal it.
      timeoutMs: 4_000,
    });
    await endOutage();
    await untilRows(servers, saleId, 200);
    await eventually(async () => assert.equal(await pendingCount(servers.shards, saleId), 0));
  });

  it('at start, the persister reports it as missing, and begins when it is available', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10 });
    const endOutage = await useOutage(test, postgres, 'stopped');
    const one = await usePersister(test, redis.url, postgres.url);
    await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']));
    await endOutage();
    await untilRows(servers, saleId, 100);
    assert.deepEqual(await one.missing(), []);
  });

  for (const how of ['stopped', 'frozen'] as const) {
    it(`because it is ${how}, a persister closes within 8 s and leaves its entries to others`, async (test) => {
      const { saleId } = await makeSale(servers);
      const one = await usePersister(test, redis.url, postgres.url);
      await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
      await untilRows(servers, saleId, 100);
      const endOutage = await useOutage(test, postgres, how);
      await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'during' });
      await eventually(async () => {
        assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'the persister has them');
      });
      const startMs = performance.now();
      await one.close();
      const tookMs = performance.now() - startMs;
      assert.ok(tookMs < 8_000, `closing took ${tookMs} ms`);
      assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'none was acknowledged');
      await endOutage();
      await usePersister(test, redis.url, postgres.url, { claimIdleMs: 100 });
      await untilRows(servers, saleId, 200);
    });
  }
});
