/** After a restart of Redis that lost nothing a sale opens again by itself, with every decision in PostgreSQL first. */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { pendingCount, readAndAbandon, saleState } from '../../harness/sales/stream.ts';
import { type Connections, useStoppableServers } from '../../harness/servers/connections.ts';
import type { TestPostgres } from '../../harness/servers/postgres.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';

describe('after redis restarted', () => {
  let redis: TestRedis;
  let postgres: TestPostgres;
  let servers: Connections;

  beforeEach(async (test) => {
    assert.ok('after' in test);
    ({ redis, postgres, servers } = await useStoppableServers(test));
  });

  async function rowCount(saleId: string): Promise<number> {
    const [row] = await servers.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
    return row!.count;
  }

  async function condition(saleId: string): Promise<string> {
    return (await servers.shards.call(readSale, saleId)).outcome;
  }

  async function audited(saleId: string): Promise<unknown[]> {
    return [
      ...(await servers.sql`
        SELECT actor, action, details->>'outcome' AS outcome, details->'events' AS events FROM audit_log WHERE sale_id = ${saleId}`),
    ];
  }

  const [logs, kept] = ['appendonlydir', 'kept'];
  function keepWhatRedisWrote(): void {
    cpSync(join(redis.directory, logs), join(redis.directory, kept), { recursive: true });
  }

  /** As if everything since `keepWhatRedisWrote` had not reached the disk. */
  async function restartWithWhatWasKept(): Promise<void> {
    await redis.kill();
    rmSync(join(redis.directory, logs), { recursive: true });
    cpSync(join(redis.directory, kept), join(redis.directory, logs), { recursive: true });
    await redis.start();
  }

  it('with all its data, the sale opens by itself and buying goes on', async (test) => {
    const { saleId } = await makeSale(servers);
    const persisters = [
      await usePersister(test, redis.url, postgres.url),
      await usePersister(test, redis.url, postgres.url),
    ];
    await buyMany(servers.shards, saleId, { count: 500, batchSize: 50, prefix: 'before' });
    await eventually(async () => assert.equal(await rowCount(saleId), 500));
    await redis.restart();
    await eventually(async () => assert.equal(await condition(saleId), 'known'));
    const [answer] = await buy(servers.shards, saleId, ['after-1']);
    assert.equal(answer?.outcome, 'reserved');
    await eventually(async () => assert.equal(await rowCount(saleId), 501));
    await eventually(async () => {
      assert.deepEqual(await audited(saleId), [
        { actor: 'persister', action: 'recover', outcome: 'renewed', events: 500 },
      ]);
    });
    const recoveries = await Promise.all(
      persisters.map((one) => one.metric('recovery_duration_seconds_count')),
    );
    assert.equal(recoveries[0]! + recoveries[1]!, 1);
  });

  it('with entries that nobody had written, those of the dead among them', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 300, batchSize: 5 });
    // More than recovery claims at once.
    assert.equal((await readAndAbandon(servers.shards, saleId, 45)).length, 45);
    await redis.kill();
    await redis.start();
    await eventually(async () => assert.equal(await condition(saleId), 'recovering'));
    await usePersister(test, redis.url, postgres.url);
    await eventually(async () => assert.equal(await condition(saleId), 'known'));
    assert.equal(await rowCount(saleId), 300, 'all were written before the sale opened');
    assert.equal(await pendingCount(servers.shards, saleId), 0);
    assert.equal((await buy(servers.shards, saleId, ['after']))[0]?.outcome, 'reserved');
  });

  it('though the persister that was at it died before it could open the sale, and the next one sooner', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10 });
    const one = await usePersister(test, redis.url, postgres.url);
    await eventually(async () => assert.equal(await rowCount(saleId), 30));
    await one.close();
    // As it leaves things when it has closed and drained the sale and begun its timeline.
    const first = { closing: 'its-closing', timeline: 0, begunAfter: '' };
    assert.equal(await servers.shards.call(closeSale, saleId, first), 'closed');
    await servers.sql`
      UPDATE sales SET timeline = timeline + 1, fence = 'where it was', closing = 'its-closing'
      WHERE sale_id = ${saleId}`;
    // And the next one, when it has closed the sale.
    const next = { closing: 'of-the-next', timeline: 1, begunAfter: 'its-closing' };
    assert.equal(await servers.shards.call(closeSale, saleId, next), 'closed');
    await usePersister(test, redis.url, postgres.url);
    await eventually(async () => assert.equal(await condition(saleId), 'known'));
    const { position, closing } = await saleState(servers.shards, saleId);
    assert.deepEqual({ position, closing }, { position: 30, closing: '' }, 'no position left out');
    await eventually(async () => {
      assert.deepEqual(await audited(saleId), [
        { actor: 'persister', action: 'recover', outcome: 'renewed', events: 30 },
      ]);
    });
  });

  it('what a persister had read before is neither lost nor acknowledged unwritten', async (test) => {
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
    await eventually(async () => assert.equal(await rowCount(saleId), 100));
    await postgres.shutDown();
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'held' });
    await eventually(async () => {
      assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'the persister has them');
    });
    await redis.restart();
    await eventually(async () => assert.equal(await condition(saleId), 'recovering'));
    // Until the persister is connected again too, and could acknowledge.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await postgres.start();
    await eventually(async () => assert.equal(await condition(saleId), 'known'));
    assert.equal(await rowCount(saleId), 150);
  });

  it('what a persister had read and redis forgot is not written once the sale sells on', async (test) => {
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'kept' });
    await eventually(async () => {
      assert.equal((await saleState(servers.shards, saleId)).drained, 100);
    });
    keepWhatRedisWrote();
    await postgres.shutDown();
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'forgotten' });
    await eventually(async () => {
      assert.ok((await pendingCount(servers.shards, saleId)) > 0, 'the persister has them');
    });
    await restartWithWhatWasKept();
    await postgres.start();
    await eventually(async () => assert.equal(await condition(saleId), 'known'));
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'again' });
    await eventually(async () => assert.equal(await rowCount(saleId), 150));
    const [row] = await servers.sql`
      SELECT count(*)::int AS count, (SELECT count(*)::int FROM dead_letters) AS letters
      FROM reservations WHERE buyer_id LIKE 'forgotten-%'`;
    assert.deepEqual({ ...row }, { count: 0, letters: 0 });
  });
});
