/** PostgreSQL may stop, freeze or be absent at the start: buying goes on, nothing is lost, and closing stays quick. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { pendingCount, saleState } from '../../harness/sales/stream.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const { redis, postgres, servers } = await useStoppableServers(FILE);

describe('while postgres is away', () => {
  async function rowCount(saleId: string): Promise<number> {
    const [row] = await servers.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
    return row!.count;
  }

  it('for three seconds, nothing is lost, and one outage is counted', async (test) => {
    const { saleId } = await makeSale(servers);
    const one = await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 1_000, batchSize: 50, prefix: 'before' });
    await eventually(async () => assert.equal(await rowCount(saleId), 1_000));
    assert.deepEqual(await one.missing(), []);

    await postgres.shutDown();
    await buyMany(servers.shards, saleId, { count: 3_000, batchSize: 50, prefix: 'during' });
    await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']));
    await eventually(async () => assert.ok((await one.metric('lag_events')) >= 3_000));
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await postgres.start();

    await eventually(async () => assert.equal(await rowCount(saleId), 4_000));
    await eventually(async () => {
      assert.equal((await saleState(servers.shards, saleId)).drained, 4_000);
      assert.equal(await pendingCount(servers.shards, saleId), 0);
      assert.deepEqual(await one.missing(), []);
    });
    assert.equal(await one.metric('postgres_outages_total'), 1);
    const failures = await one.metric('postgres_failures_total');
    assert.ok(failures >= 5, `tried only ${failures} times in three seconds`);
  });

  it('frozen with its connections open, the silence is noticed and nothing is lost', async (test) => {
    const { saleId } = await makeSale(servers);
    const one = await usePersister(test, redis.url, postgres.url, { silenceMs: 500 });
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
    await eventually(async () => assert.equal(await rowCount(saleId), 100));
    postgres.pause();
    try {
      await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'during' });
      await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']), {
        // Less than a new connection waits for an answer, which would also tell.
        timeoutMs: 3_000,
      });
    } finally {
      postgres.resume();
    }
    await eventually(async () => assert.equal(await rowCount(saleId), 200));
    await eventually(async () => assert.equal(await pendingCount(servers.shards, saleId), 0));
  });

  it('at the start, the persister says what is missing and begins when it comes', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10 });
    await postgres.shutDown();
    const one = await usePersister(test, redis.url, postgres.url);
    await eventually(async () => assert.deepEqual(await one.missing(), ['postgres']));
    await postgres.start();
    await eventually(async () => assert.equal(await rowCount(saleId), 100));
    assert.deepEqual(await one.missing(), []);
  });

  for (const [how, leave, comeBack] of [
    ['stopped', () => postgres.shutDown(), () => postgres.start()],
    ['frozen', async () => postgres.pause(), async () => postgres.resume()],
  ] as const) {
    it(`${how}, closing takes less than five seconds and leaves the entries to others`, async (test) => {
      const { saleId } = await makeSale(servers);
      const one = await usePersister(test, redis.url, postgres.url);
      await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
      await eventually(async () => assert.equal(await rowCount(saleId), 100));
      await leave();
      try {
        await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'during' });
        await eventually(async () => {
          assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'the persister has them');
        });
        const startMs = performance.now();
        await one.close();
        const tookMs = performance.now() - startMs;
        assert.ok(tookMs < 5_000, `closing took ${tookMs} ms`);
        assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'none was acknowledged');
      } finally {
        await comeBack();
      }
      await usePersister(test, redis.url, postgres.url, { claimIdleMs: 100 });
      await eventually(async () => assert.equal(await rowCount(saleId), 200));
    });
  }
});
