/**
 * When several processes expire or confirm a hold in the same moment, one of them does, and its units return at most
 * once.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { metric } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { holdMany } from '../../harness/sales/purchases.ts';
import {
  applyTransition,
  assertPromisesHold,
  unitCounts,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { newTag } from '../../src/domain/identifiers.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const STOCK = 100_000;

const { redis, database, servers } = await useServers(FILE);

describe('a hold ends once', () => {
  async function expiredRows(saleId: string): Promise<number> {
    const [row] = await servers.sql<{ rows: number }[]>`
      SELECT count(*)::int AS rows FROM reservations
      WHERE sale_id = ${saleId} AND status = 'expired' AND version = 2`;
    return row!.rows;
  }

  it('when it is confirmed in the millisecond of its deadline', async (test) => {
    const { shards } = servers;
    const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: 2 });
    await usePersister(test, redis.url, database.url);
    await usePersister(test, redis.url, database.url);
    const held = await holdMany(shards, saleId, { count: 600, batchSize: 30 });
    // Confirms from just before to just after the deadline, with sweeps between, so that some coincide. The first and
    // the last of each batch keep clear of it. Redis runs on this machine, so both have the same clock.
    const offsetMs = (index: number) =>
      index % 30 === 0 ? -1_500 : index % 30 === 29 ? 500 : (index % 30) - 15;
    const outcomes = await Promise.all(
      held.map(async (reservation, index) => {
        await sleep(reservation.expiresAt - Date.now() + offsetMs(index));
        const settled = applyTransition(shards, reservation, 'confirm');
        if (index % 30 === 16) await shards.call(sweep, saleId, { most: 10, tag: newTag() });
        return settled;
      }),
    );
    let confirmed = 0;
    for (const reply of outcomes) {
      if (reply.outcome === 'changed') confirmed++;
      else if (reply.outcome === 'forbidden') assert.equal(reply.reservation.status, 'expired');
      else assert.fail(reply.outcome);
    }
    assert.ok(confirmed > 0, 'some confirmations must win');
    assert.ok(confirmed < held.length, 'some deadlines must win');
    await eventually(async () => {
      assert.deepEqual(await unitCounts(shards, saleId), {
        remaining: STOCK - confirmed,
        held: 0,
        confirmed,
        waiting: 0,
      });
      assert.equal(await expiredRows(saleId), held.length - confirmed);
    });
    await assertPromisesHold(servers, saleId);
  });

  it('when three persisters sweep the same sale', async (test) => {
    const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: 2 });
    const persisters = await Promise.all(
      [1, 2, 3].map(() => usePersister(test, redis.url, database.url)),
    );
    await holdMany(servers.shards, saleId, { count: 5_000, batchSize: 100 });
    await eventually(async () => assert.equal(await expiredRows(saleId), 5_000));
    assert.equal((await unitCounts(servers.shards, saleId)).remaining, STOCK);
    await assertPromisesHold(servers, saleId);
    const expired = await Promise.all(
      persisters.map((each) => metric(each, 'flash_sale_expired_total')),
    );
    assert.equal(
      expired.reduce((sum, each) => sum + each, 0),
      5_000,
    );
  });

  it('when a persister is killed during the sweep, and another one continues', async (test) => {
    const count = 20_000;
    const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: 3 });
    await holdMany(servers.shards, saleId, { count, batchSize: 200 });
    const killed = await useEngineProcess(test, 'persister', {
      REDIS_URL: redis.url,
      DATABASE_URL: database.url,
    });
    let held = count;
    while (held === count) {
      await sleep(1);
      held = (await unitCounts(servers.shards, saleId)).held;
    }
    await killed.kill();
    const { held: left } = await unitCounts(servers.shards, saleId);
    assert.ok(left > 0, 'the persister was killed too late');

    await usePersister(test, redis.url, database.url, { claimIdleMs: 100 });
    await eventually(
      async () => {
        assert.equal((await unitCounts(servers.shards, saleId)).remaining, STOCK);
        assert.equal(await expiredRows(saleId), count);
      },
      { timeoutMs: 60_000 },
    );
    await assertPromisesHold(servers, saleId);
  });
});
