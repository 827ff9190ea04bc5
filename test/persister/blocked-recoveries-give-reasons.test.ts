/** A recovery that cannot open a sale leaves it closed, reports the reason once, and opens it when the reason is gone. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import {
  addDeadLetter,
  recordStockChange,
  recoveriesOf,
  requestRecovery,
  stagedKeys,
  untilBlocked,
  untilOpen,
} from '../../harness/sales/recovery.ts';
import { assertPromisesHold, reservationsOf, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

describe('a blocked recovery', () => {
  it('waits while a dead letter is unresolved, and while more units are sold than loaded', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 10 });
    const one = await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await untilRows(servers, saleId, 10);
    await addDeadLetter(servers, saleId);
    await recordStockChange(servers, saleId, { operation: 2, delta: -1, outcome: 'applied' });
    await servers.shards.of(saleId).client.flushall();
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 1));
    await untilBlocked(servers, saleId, /dead letters/);
    await servers.sql`UPDATE dead_letters SET resolved_at = now()`;
    await untilBlocked(servers, saleId, /unit: 10 of 9/);
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'unknown_sale');
    await recordStockChange(servers, saleId, { operation: 3, delta: 1, outcome: 'pending' });
    await untilOpen(servers, saleId);
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 0));
    await eventually(async () => {
      const recoveries = await recoveriesOf(servers, saleId);
      assert.equal(recoveries.length, 3, 'each reason once, then the recovery');
    });
  });

  it('waits while Redis has no memory for the rebuild', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    // One attempt, until another one is requested.
    const one = await usePersister(test, redis.url, database.url, { restMs: 60_000 });
    await buyMany(servers.shards, saleId, { count: 5_000, batchSize: 100 });
    await untilRows(servers, saleId, 5_000);
    const before = await reservationsOf(servers.shards, saleId, 'buyer-4000');
    const { client } = servers.shards.of(saleId);
    const used = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]);
    await client.config('SET', 'maxmemory', used + 300_000);
    // As if the server had been promoted without the last events.
    await client.hset(saleKey(saleId, 'sale'), 'events', 4_900, 'fence', '');
    await requestRecovery(servers, saleId);
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 1));
    await eventually(async () => {
      const reasons = (await recoveriesOf(servers, saleId)).map(({ why }) => String(why));
      assert.match(reasons.join(), /Redis is full.*maxmemory/);
    });
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'recovering');
    assert.deepEqual(await stagedKeys(servers, saleId), ['rebuild'], 'only the mark of its owner');

    await client.config('SET', 'maxmemory', '0');
    await servers.shards.publishChanged(saleId);
    await untilOpen(servers, saleId);
    await eventually(async () => {
      const outcomes = (await recoveriesOf(servers, saleId)).map(({ outcome }) => outcome);
      assert.deepEqual(outcomes, ['blocked', 'rebuilt'], 'each is recorded once');
    });
    assert.deepEqual(await reservationsOf(servers.shards, saleId, 'buyer-4000'), before);
    assert.deepEqual(await stagedKeys(servers, saleId), []);
    await assertPromisesHold(servers, saleId);
  });
});
