/** Holds expire on time while PostgreSQL is unavailable, and after Redis was unavailable. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { metric } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold, holdMany } from '../../harness/sales/purchases.ts';
import { assertPromisesHold, unitCounts, untilExpired } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { useOutage } from '../../harness/servers/postgres-faults.ts';
import { FILE } from '../../harness/use.ts';

const STOCK = 1_000;
/** A sweep may be late on a busy machine. */
const IN_TIME = { timeoutMs: 3_000 };

const { redis, postgres, servers } = await useStoppableServers(FILE);

describe('while a server is unavailable', () => {
  /** Waits until the persister knows the sale. */
  async function untilSwept(one: { port: number }): Promise<void> {
    await eventually(async () => {
      assert.ok((await metric(one, 'flash_sale_persister_sweep_duration_seconds_count')) > 0);
    });
  }

  for (const how of ['stopped', 'frozen'] as const) {
    it(`PostgreSQL ${how}: holds expire on time, and rows follow later`, async (test) => {
      const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: 1 });
      const one = await usePersister(test, redis.url, postgres.url);
      const all = async () => {
        assert.equal((await unitCounts(servers.shards, saleId)).remaining, STOCK);
      };
      await untilSwept(one);
      const endOutage = await useOutage(test, postgres, how);
      const held = await holdMany(servers.shards, saleId, { count: 500, batchSize: 50 });
      await untilExpired(servers.shards, held.at(-1)!);
      await eventually(all, IN_TIME);
      // The units are sold again and expire again, still without PostgreSQL.
      const again = await holdMany(servers.shards, saleId, { count: 500, batchSize: 50 });
      await untilExpired(servers.shards, again.at(-1)!);
      await eventually(all, IN_TIME);
      await endOutage();
      await assertPromisesHold(servers, saleId);
      const [row] = await servers.sql<{ rows: number }[]>`
        SELECT count(*)::int AS rows FROM reservations
        WHERE sale_id = ${saleId} AND status = 'expired' AND version = 2`;
      assert.equal(row!.rows, 1_000);
    });
  }

  it('Redis killed: holds that were due expire when the sale is open again, and no sweep runs before', async (test) => {
    const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: 1 });
    const one = await usePersister(test, redis.url, postgres.url);
    await untilSwept(one);
    await hold(servers.shards, saleId, ['ada', 'bob', 'cyd']);
    await redis.kill();
    const sweeps = () => metric(one, 'flash_sale_persister_sweep_duration_seconds_count');
    const sweepsBefore = await sweeps();
    // Beyond the deadline of the holds, and long enough for several sweeps.
    await sleep(1_500);
    assert.equal(await sweeps(), sweepsBefore);
    await redis.start();
    await eventually(async () => {
      assert.equal((await unitCounts(servers.shards, saleId)).remaining, STOCK);
    });
    await assertPromisesHold(servers, saleId);
  });
});
