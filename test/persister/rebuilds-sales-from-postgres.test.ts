/** A sale that Redis has lost, wholly or in part, is rebuilt from PostgreSQL without losing a row or selling a unit twice. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import {
  recordStockChange,
  recoveriesOf,
  requestRecovery,
  untilOpen,
} from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  reservationsOf,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { copyAppendedFiles, restartFromCopy } from '../../harness/servers/redis-disk.ts';
import type { Reservation } from '../../src/domain/reservation.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

/** Positions that a rebuild leaves out, because Redis may have given them to buyers unknown to PostgreSQL. */
const SKIPPED = 5_000_000;

describe('a rebuild', () => {
  it('after FLUSHALL restores reservations of every status, and purchases continue', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { shards } = servers;
    const { saleId } = await makeSale(servers, { stock: 200, perBuyerLimit: 3 });
    const one = await usePersister(test, redis.url, database.url);
    await buyMany(shards, saleId, { count: 150, batchSize: 7, prefix: 'buyer' });
    const held: Reservation[] = [];
    for (const number of [1, 2, 3, 4]) {
      held.push((await reservationsOf(shards, saleId, `buyer-${number}`))[0]!);
    }
    await applyTransition(shards, held[0]!, 'confirm');
    await applyTransition(shards, held[1]!, 'cancel');
    await applyTransition(shards, held[2]!, 'extend');
    await applyTransition(shards, held[3]!, 'confirm');
    await applyTransition(shards, held[3]!, 'cancel');
    await buy(shards, saleId, ['buyer-2']);
    await eventually(async () => {
      const { drained, events } = await saleState(shards, saleId);
      assert.equal(drained, events);
    });
    const before = await saleState(shards, saleId);
    const [firstBefore, secondBefore] = [
      await reservationsOf(shards, saleId, 'buyer-1'),
      await reservationsOf(shards, saleId, 'buyer-2'),
    ];

    await shards.of(saleId).client.flushall();
    await untilOpen(servers, saleId);

    const after = await saleState(shards, saleId);
    assert.deepEqual(after.stock, before.stock);
    assert.deepEqual(after.definition, before.definition);
    assert.equal(after.events, before.events);
    assert.equal(after.position, before.position + SKIPPED);
    assert.deepEqual(await reservationsOf(shards, saleId, 'buyer-1'), firstBefore);
    assert.deepEqual(await reservationsOf(shards, saleId, 'buyer-2'), secondBefore);
    // Repeated requests get their first response, and a hold that was extended cannot be extended again.
    assert.equal((await buy(shards, saleId, ['buyer-5']))[0]?.outcome, 'replayed');
    assert.equal((await applyTransition(shards, held[2]!, 'extend')).outcome, 'repeated');
    assert.equal((await applyTransition(shards, held[2]!, 'confirm')).outcome, 'changed');
    const [fresh] = await buy(shards, saleId, ['newcomer']);
    assert.equal(fresh?.outcome, 'reserved');
    const [newest] = await reservationsOf(shards, saleId, 'newcomer');
    assert.equal(newest?.position, before.position + SKIPPED + 1);
    assert.equal((await applyTransition(shards, newest, 'confirm')).outcome, 'changed');
    await assertPromisesHold(servers, saleId);
    assert.deepEqual(await recoveriesOf(servers, saleId), [
      { actor: 'persister', outcome: 'rebuilt', cause: 'redis_forgot_the_sale', why: null },
    ]);
    assert.equal(await one.metric('recovery_duration_seconds_count'), 1);

    // A second rebuild keeps the positions that the first one left out.
    await shards.of(saleId).client.flushall();
    await untilOpen(servers, saleId);
    await buyMany(shards, saleId, { count: 20, batchSize: 5, prefix: 'later' });
    const [later] = await reservationsOf(shards, saleId, 'later-1');
    assert.equal(later?.position, newest.position + SKIPPED + 1);
    assert.equal((await applyTransition(shards, later, 'cancel')).outcome, 'changed');
    await assertPromisesHold(servers, saleId);
  });

  it('restores decisions that Redis lost at the end of its file, and the waitlist without those already served', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { shards } = servers;
    const { saleId } = await makeSale(servers, { stock: 100 });
    await usePersister(test, redis.url, database.url);
    await buyMany(shards, saleId, { count: 100, batchSize: 10, prefix: 'first' });
    for (const buyerId of ['ada', 'bob', 'cyd']) {
      await shards.call(joinWaitlist, saleId, { buyerId, sku: 'unit', quantity: 1 });
    }
    await untilRows(servers, saleId, 100);
    copyAppendedFiles(redis);
    const [returned] = await reservationsOf(shards, saleId, 'first-7');
    await applyTransition(shards, returned!, 'cancel');
    await untilRows(servers, saleId, 101);
    assert.equal(
      (await reservationsOf(shards, saleId, 'ada')).length,
      1,
      'the first one was served',
    );

    await restartFromCopy(redis);
    await untilOpen(servers, saleId);
    assert.equal((await reservationsOf(shards, saleId, 'ada')).length, 1);
    const { stock } = await saleState(shards, saleId);
    assert.equal(stock[0]?.waiting, 2);
    const [another] = await reservationsOf(shards, saleId, 'first-8');
    await applyTransition(shards, another!, 'cancel');
    // At once, or by the next sweep.
    await eventually(async () => {
      assert.equal((await reservationsOf(shards, saleId, 'bob')).length, 1);
    });
    await assertPromisesHold(servers, saleId);
    assert.deepEqual(await recoveriesOf(servers, saleId), [
      { actor: 'persister', outcome: 'rebuilt', cause: 'redis_forgot_decisions', why: null },
    ]);
  });

  it('applies a withdrawal of stock that Redis lost', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 100 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await untilRows(servers, saleId, 10);
    await recordStockChange(servers, saleId, { operation: 2, delta: -90, outcome: 'applied' });
    await redis.restart();
    await untilOpen(servers, saleId);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [10, 0, 2]);
    assert.equal((await buy(servers.shards, saleId, ['late']))[0]?.outcome, 'sold_out');
    await assertPromisesHold(servers, saleId);
  });

  it('includes a pending operation whose units were sold, and leaves out one whose units were not', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 10 });
    await recordStockChange(servers, saleId, { operation: 2, delta: 5, outcome: 'pending' });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await untilRows(servers, saleId, 10);
    const { client } = servers.shards.of(saleId);
    await client.flushall();
    await untilOpen(servers, saleId);
    assert.equal((await saleState(servers.shards, saleId)).operation, 1);

    await client.hset(saleKey(saleId, 'sale'), 'operation', 2, 'operationOutcome', 'applied');
    await client.hincrby(saleKey(saleId, 'stock'), 'unit:loaded', 5);
    await client.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 5);
    await buyMany(servers.shards, saleId, { count: 3, batchSize: 3, prefix: 'more' });
    await untilRows(servers, saleId, 13);
    await client.flushall();
    await untilOpen(servers, saleId);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [15, 2, 2]);
  });

  it('that an operator requests restores the stock, though Redis lost nothing', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 50 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    await untilRows(servers, saleId, 20);
    // An edit by hand, which `verify` reports.
    await servers.shards.of(saleId).client.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 7);
    await requestRecovery(servers, saleId);
    await eventually(async () => {
      assert.deepEqual(await recoveriesOf(servers, saleId), [
        { actor: 'operator', outcome: 'rebuilt', cause: 'requested', why: null },
      ]);
    });
    await untilOpen(servers, saleId);
    const { stock, position } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.remaining, position], [30, 20], 'no position is left out');
    await assertPromisesHold(servers, saleId);
  });

  it('succeeds with two persisters, and after the connections of one die during it', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    const persisters = [
      await usePersister(test, redis.url, database.url),
      await usePersister(test, redis.url, database.url),
    ];
    await buyMany(servers.shards, saleId, { count: 3_000, batchSize: 100 });
    await untilRows(servers, saleId, 3_000);
    for (let round = 0; round < 3; round++) {
      await servers.shards.of(saleId).client.flushall();
      if (round === 1) {
        // Kills the connections while the rebuild reads rows, unless it has already finished.
        await eventually(async () => {
          const killed = await servers.sql`
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'flash-sale-persister' AND datname = current_database()
              AND query LIKE '%FROM reservations WHERE sale_id%'`;
          if (killed.length > 0) return;
          const reply = await servers.shards.call(readSale, saleId);
          assert.equal(reply.outcome, 'known');
        });
      }
      await untilOpen(servers, saleId);
      await buyMany(servers.shards, saleId, { count: 10, batchSize: 5, prefix: `round-${round}` });
      await untilRows(servers, saleId, 3_010 + 10 * round);
    }
    await assertPromisesHold(servers, saleId);
    const counts = await Promise.all(
      persisters.map((one) => one.metric('recovery_duration_seconds_count')),
    );
    assert.ok(counts[0]! + counts[1]! >= 3);
  });
});
