/** Every event is written to PostgreSQL once, whichever persister delivers it, however often and in whatever order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import {
  appendTransition,
  consumerNames,
  entryIds,
  pendingCount,
  readAndAbandon,
  saleState,
} from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

/** A persister leaves as much between two writes of a sale. */
const GATHER_MS = 40;

const { redis, database, servers } = await useServers(FILE);

describe('every event is written once', () => {
  async function countsOf(saleId: string): Promise<{ rows: number; events: number; last: number }> {
    const [row] = await servers.sql<{ rows: number; events: number; last: number }[]>`
      SELECT (SELECT count(*) FROM reservations WHERE sale_id = ${saleId})::int AS rows,
        (SELECT count(DISTINCT event) FROM reservation_history WHERE sale_id = ${saleId})::int AS events,
        (SELECT max(event) FROM checkpoints WHERE sale_id = ${saleId})::int AS last`;
    return { ...row! };
  }

  async function rowsOf(saleId: string) {
    return [
      ...(await servers.sql`
        SELECT status, version, request_id FROM reservations WHERE sale_id = ${saleId}
        ORDER BY position`),
    ];
  }

  /** The transaction that wrote each row last. The same ids mean that no row was written again. */
  async function writersOf(saleId: string) {
    return [
      ...(await servers.sql`
        SELECT reservation_id, xmin::text FROM reservations WHERE sale_id = ${saleId} ORDER BY 1`),
    ];
  }

  it('together with those that come within a moment, if events keep coming', async (test) => {
    const { saleId } = await makeSale(servers);
    const persister = await usePersister(test, redis.url, database.url);
    await buy(servers.shards, saleId, ['first']);
    await eventually(async () => assert.equal((await countsOf(saleId)).rows, 1));
    const before = await persister.metric('batches_total');
    const entries = 20;
    const startedAt = performance.now();
    for (let index = 0; index < entries; index++) {
      await buy(servers.shards, saleId, [`buyer-${index}`]);
      await sleep(15);
    }
    const comingMs = performance.now() - startedAt;
    await eventually(async () => assert.equal((await countsOf(saleId)).rows, 1 + entries));
    const writes = (await persister.metric('batches_total')) - before;
    assert.ok(writes <= comingMs / GATHER_MS + 2, `${writes} writes in ${comingMs} ms`);
  });

  it('by three persisters, of a big and a small sale at the same time', async (test) => {
    const [big, small] = [await makeSale(servers), await makeSale(servers)];
    await Promise.all([1, 2, 3].map(() => usePersister(test, redis.url, database.url)));
    await Promise.all([
      buyMany(servers.shards, big.saleId, { count: 20_000, batchSize: 100 }),
      buyMany(servers.shards, small.saleId, { count: 500, batchSize: 1 }),
    ]);
    await eventually(async () => {
      assert.deepEqual(await countsOf(big.saleId), { rows: 20_000, events: 20_000, last: 20_000 });
      assert.deepEqual(await countsOf(small.saleId), { rows: 500, events: 500, last: 500 });
    });
    await eventually(async () => {
      const { streamLength, drained } = await saleState(servers.shards, big.saleId);
      assert.deepEqual({ streamLength, drained }, { streamLength: 0, drained: 20_000 });
    });
  });

  it('when the stream delivers everything twice, the second time in reverse', async (test) => {
    const { saleId } = await makeSale(servers);
    const { client } = servers.shards.of(saleId);
    const key = saleKey(saleId, 'events');
    const [reply] = await buy(servers.shards, saleId, ['first']);
    assert.equal(reply?.outcome, 'reserved');
    const bought = { buyerId: 'first', record: 'record' in reply ? reply.record : '' };
    await buyMany(servers.shards, saleId, { count: 300, batchSize: 7 });
    await appendTransition(servers.shards, saleId, bought, { status: 'C' });
    await appendTransition(servers.shards, saleId, bought, { status: 'X', version: 3 });
    const entries = await client.xrange(key, '-', '+');
    await usePersister(test, redis.url, database.url);
    const untilDrained = () =>
      eventually(async () => assert.deepEqual(await entryIds(servers.shards, saleId), []));
    await untilDrained();
    // Some one by one, so that older versions arrive in batches without the newer ones.
    for (const [index, [, fields]] of entries.toReversed().entries()) {
      await client.xadd(key, '*', ...fields);
      await servers.shards.publishWork(saleId);
      if (index < 3) await untilDrained();
    }
    await untilDrained();
    assert.deepEqual((await rowsOf(saleId))[0], {
      status: 'cancelled',
      version: 3,
      requestId: 'request-of-first',
    });
    assert.equal((await countsOf(saleId)).rows, 301);
    assert.equal((await countsOf(saleId)).events, 303);
  });

  it('in order, though an ended consumer has the first entry', async (test) => {
    const { saleId } = await makeSale(servers);
    const [reply] = await buy(servers.shards, saleId, ['buyer']);
    assert.equal(reply?.outcome, 'reserved');
    const bought = { buyerId: 'buyer', record: 'record' in reply ? reply.record : '' };
    await readAndAbandon(servers.shards, saleId, 1);
    await appendTransition(servers.shards, saleId, bought, { status: 'C' });
    await buyMany(servers.shards, saleId, { count: 500, batchSize: 10 });

    let gaps = 0;
    await usePersister(test, redis.url, database.url, { claimIdleMs: 60_000 });
    await usePersister(test, redis.url, database.url, { claimIdleMs: 60_000 });
    await eventually(async () => {
      const { rows, events, last } = await countsOf(saleId);
      if (events !== (last ?? 0)) gaps += 1;
      assert.equal(rows, 501);
    });
    assert.equal(gaps, 0, 'PostgreSQL had every event up to its last one at every moment');
    assert.deepEqual((await rowsOf(saleId))[0], {
      status: 'confirmed',
      version: 2,
      requestId: 'request-of-buyer',
    });
  });

  it('when a persister died between its commit and its acknowledgement', async (test) => {
    const { saleId } = await makeSale(servers);
    const { client } = servers.shards.of(saleId);
    await buyMany(servers.shards, saleId, { count: 1_000, batchSize: 50 });
    await client.acl('SETUSER', 'default', '-xack');
    const dying = await usePersister(test, redis.url, database.url);
    await eventually(async () => assert.equal((await countsOf(saleId)).rows, 1_000));
    await dying.close();
    assert.equal(await pendingCount(servers.shards, saleId), 20);
    const writers = await writersOf(saleId);

    await client.acl('SETUSER', 'default', '+xack');
    await usePersister(test, redis.url, database.url, { claimIdleMs: 100 });
    await eventually(async () => assert.equal(await pendingCount(servers.shards, saleId), 0));
    assert.deepEqual(await writersOf(saleId), writers, 'no row was written again');
    assert.deepEqual(await countsOf(saleId), { rows: 1_000, events: 1_000, last: 1_000 });
  });

  it('when an ended consumer has it, which is then removed', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 5 });
    assert.equal((await readAndAbandon(servers.shards, saleId, 8)).length, 8);
    const one = await usePersister(test, redis.url, database.url, {
      claimIdleMs: 300,
      consumerIdleMs: 300,
    });
    await eventually(async () => {
      assert.deepEqual(await countsOf(saleId), { rows: 100, events: 100, last: 100 });
      assert.equal(await pendingCount(servers.shards, saleId), 0);
    });
    assert.ok((await one.metric('entries_claimed_total')) >= 8);
    let late = 0;
    await eventually(async () => {
      // Whenever the sale has been drained again.
      await buy(servers.shards, saleId, [`late-${++late}`]);
      assert.deepEqual(
        (await consumerNames(servers.shards, saleId)).filter((name) => name === 'abandoned'),
        [],
      );
    });
  });

  it('when the consumer group was destroyed', async (test) => {
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 5 });
    await eventually(async () => assert.equal((await countsOf(saleId)).rows, 50));
    await servers.shards
      .of(saleId)
      .client.xgroup('DESTROY', saleKey(saleId, 'events'), 'persister');
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 5, prefix: 'later' });
    await eventually(async () => {
      assert.deepEqual(await countsOf(saleId), { rows: 100, events: 100, last: 100 });
    });
  });
});
