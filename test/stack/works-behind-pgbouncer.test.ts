/**
 * Persister, admin and `migrate` do all their work through PgBouncer, in session and in transaction mode. It is the real
 * program.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { recoveriesOf, untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { type PoolMode, usePgBouncer } from '../../harness/servers/pgbouncer.ts';
import { useDatabase, useEmptyDatabase } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { migrate } from '../../src/postgres/migrate.ts';

const UNITS = 40;

async function usePooledServers(test: TestContext, poolMode: PoolMode) {
  const redis = await useRedis(test);
  const database = await useDatabase(test);
  const pooler = await usePgBouncer(test, database.url, poolMode);
  return { redis, pooler, servers: await useConnections(test, redis.url, pooler.url) };
}

describe('behind PgBouncer', () => {
  for (const poolMode of ['session', 'transaction'] as const) {
    it(`in ${poolMode} mode, a sale is created, sold, confirmed, recovered and verified`, async (test) => {
      const { redis, pooler, servers } = await usePooledServers(test, poolMode);
      const app = await useApp(test, servers);
      const persister = await usePersister(test, redis.url, pooler.url);
      await eventually(async () => assert.deepEqual(await persister.missing(), []));
      const call = async (request: string, body: unknown, status: number) => {
        const response = await callAdmin(app, request, { body });
        assert.equal(response.status, status, JSON.stringify(response.body));
        return response.body;
      };
      const saleId = `pooled-${poolMode}`;
      const skus = [{ sku: 'unit', price: 100, stock: UNITS }];
      await call('POST /sales', { saleId, name: 'Pooled', currency: 'EUR', skus }, 201);
      await call(`POST /sales/${saleId}/open`, undefined, 200);
      const buyers = Array.from({ length: UNITS }, (_, index) => `buyer-${index}`);
      // Several transactions at once, so that the pool gives them different sessions.
      const batches = [buyers.slice(0, 10), buyers.slice(10, 20), buyers.slice(20)];
      const held = (
        await Promise.all(batches.map((batch) => hold(servers.shards, saleId, batch)))
      ).flat();
      await untilRows(servers, saleId, UNITS);
      await Promise.all(
        held.map(({ reservationId }) =>
          call(`POST /reservations/${reservationId}/confirm`, { paymentRef: reservationId }, 200),
        ),
      );
      await assertPromisesHold(servers, saleId);

      await servers.shards.of(saleId).client.flushall();
      await untilOpen(servers, saleId);
      await eventually(async () => {
        const [recovery] = await recoveriesOf(servers, saleId);
        assert.equal(recovery?.outcome, 'rebuilt');
      });
      await assertPromisesHold(servers, saleId);
    });
  }

  it('migrations are applied in transaction mode', async (test) => {
    const database = await useEmptyDatabase(test);
    const pooler = await usePgBouncer(test, database.url, 'transaction');
    const lines: string[] = [];
    await Promise.all([1, 2].map(() => migrate(pooler.url, (line) => lines.push(line))));
    assert.match(lines.join('\n'), /applied migration 1: foundation/);
    assert.match(lines.join('\n'), /the database is up to date/);
  });

  it('statements are prepared without a pooler only', async (test) => {
    const { pooler, servers } = await usePooledServers(test, 'transaction');
    const direct = Object.assign(new URL(pooler.url), {
      port: new URL(process.env.TEST_POSTGRES_URL!).port,
    });
    const redis = await useRedis(test);
    const without = await useConnections(test, redis.url, direct.href);
    await eventually(() => assert.equal(without.sql.options.prepare, true));
    assert.equal(servers.sql.options.prepare, false);
  });
});
