/** After a restart of Redis that lost nothing, a sale opens again by itself, after every decision is in PostgreSQL. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { untilOpen, untilPersisterConnected } from '../../harness/sales/recovery.ts';
import { rowCount, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { pendingCount, readAndAbandon, saleState } from '../../harness/sales/stream.ts';
import { type Connections, useStoppableServers } from '../../harness/servers/connections.ts';
import { useOutage } from '../../harness/servers/postgres-faults.ts';
import { copyAppendedFiles, restartFromCopy } from '../../harness/servers/redis-disk.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';

async function outcome({ shards }: Pick<Connections, 'shards'>, saleId: string): Promise<string> {
  return (await shards.call(readSale, saleId)).outcome;
}

async function audited({ sql }: Pick<Connections, 'sql'>, saleId: string): Promise<unknown[]> {
  return [
    ...(await sql`
      SELECT actor, action, details->>'outcome' AS outcome, details->'events' AS events
      FROM audit_log WHERE sale_id = ${saleId} AND action = 'recover'`),
  ];
}

describe('after a restart of Redis', () => {
  it('with all its data, the sale opens by itself and purchases continue', async (test) => {
    const { redis, postgres, servers } = await useStoppableServers(test);
    const { saleId } = await makeSale(servers);
    const persisters = [
      await usePersister(test, redis.url, postgres.url),
      await usePersister(test, redis.url, postgres.url),
    ];
    await buyMany(servers.shards, saleId, { count: 500, batchSize: 50, prefix: 'before' });
    await untilRows(servers, saleId, 500);
    await redis.restart();
    await untilOpen(servers, saleId);
    const [reply] = await buy(servers.shards, saleId, ['after-1']);
    assert.equal(reply?.outcome, 'reserved');
    await untilRows(servers, saleId, 501);
    await eventually(async () => {
      assert.deepEqual(await audited(servers, saleId), [
        { actor: 'persister', action: 'recover', outcome: 'renewed', events: 500 },
      ]);
    });
    const recoveries = await Promise.all(
      persisters.map((one) => one.metric('recovery_duration_seconds_count')),
    );
    assert.equal(recoveries[0]! + recoveries[1]!, 1);
  });

  it('entries that were not written are written first, also those of ended consumers', async (test) => {
    const { redis, postgres, servers } = await useStoppableServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 300, batchSize: 5 });
    // More entries than a recovery claims at once.
    assert.equal((await readAndAbandon(servers.shards, saleId, 45)).length, 45);
    await redis.kill();
    await redis.start();
    await eventually(async () => assert.equal(await outcome(servers, saleId), 'recovering'));
    await usePersister(test, redis.url, postgres.url);
    await untilOpen(servers, saleId);
    assert.equal(await rowCount(servers, saleId), 300, 'all were written before the sale opened');
    assert.equal(await pendingCount(servers.shards, saleId), 0);
    assert.equal((await buy(servers.shards, saleId, ['after']))[0]?.outcome, 'reserved');
  });

  it('the sale opens, though two recoveries died before they could open it', async (test) => {
    const { redis, postgres, servers } = await useStoppableServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10 });
    const one = await usePersister(test, redis.url, postgres.url);
    await untilRows(servers, saleId, 30);
    await one.close();
    // As the first one leaves the sale: closed, drained, and with its timeline begun.
    const first = { closing: 'its-closing', timeline: 0, begunAfter: '' };
    assert.equal(await servers.shards.call(closeSale, saleId, first), 'closed');
    await servers.sql`
      UPDATE sales SET timeline = timeline + 1, fence = 'where it was', closing = 'its-closing'
      WHERE sale_id = ${saleId}`;
    // As the second one leaves it: closed.
    const next = { closing: 'of-the-next', timeline: 1, begunAfter: 'its-closing' };
    assert.equal(await servers.shards.call(closeSale, saleId, next), 'closed');
    await usePersister(test, redis.url, postgres.url);
    await untilOpen(servers, saleId);
    const { position, closing } = await saleState(servers.shards, saleId);
    assert.deepEqual({ position, closing }, { position: 30, closing: '' }, 'no position left out');
    await eventually(async () => {
      assert.deepEqual(await audited(servers, saleId), [
        { actor: 'persister', action: 'recover', outcome: 'renewed', events: 30 },
      ]);
    });
  });

  it('entries that a persister had read are neither lost nor acknowledged before they are written', async (test) => {
    const { redis, postgres, servers } = await useStoppableServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'before' });
    await untilRows(servers, saleId, 100);
    const endOutage = await useOutage(test, postgres, 'stopped');
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'held' });
    await eventually(async () => {
      assert.ok(
        (await pendingCount(servers.shards, saleId)) > 0,
        'the persister has read some of them',
      );
    });
    await redis.restart();
    await eventually(async () => assert.equal(await outcome(servers, saleId), 'recovering'));
    // From now on the persister could acknowledge.
    await untilPersisterConnected(servers);
    await endOutage();
    await untilOpen(servers, saleId);
    assert.equal(await rowCount(servers, saleId), 150);
  });

  it('entries that a persister had read and Redis lost are not written after the recovery', async (test) => {
    const { redis, postgres, servers } = await useStoppableServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, postgres.url);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'kept' });
    await eventually(async () => {
      assert.equal((await saleState(servers.shards, saleId)).drained, 100);
    });
    copyAppendedFiles(redis);
    const endOutage = await useOutage(test, postgres, 'stopped');
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'forgotten' });
    await eventually(async () => {
      assert.ok(
        (await pendingCount(servers.shards, saleId)) > 0,
        'the persister has read some of them',
      );
    });
    await restartFromCopy(redis);
    await endOutage();
    await untilOpen(servers, saleId);
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'again' });
    await untilRows(servers, saleId, 150);
    const [row] = await servers.sql`
      SELECT count(*)::int AS count, (SELECT count(*)::int FROM dead_letters) AS letters
      FROM reservations WHERE buyer_id LIKE 'forgotten-%'`;
    assert.deepEqual({ ...row }, { count: 0, letters: 0 });
  });
});
