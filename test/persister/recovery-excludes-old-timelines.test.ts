/**
 * A recovery begins a timeline. What a frozen process, an older recovery or another server did on an older timeline is
 * not written and does not replace the sale.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import {
  firstOperationOf,
  recoveriesOf,
  stagedKeys,
  untilOpen,
  untilScriptsRan,
} from '../../harness/sales/recovery.ts';
import {
  assertPromisesHold,
  reservationsOf,
  rowCount,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { pendingCount, readAndAbandon, saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import {
  lockSaleHistory,
  lockTable,
  untilWaitingForLock,
  waitingForLock,
} from '../../harness/servers/postgres-faults.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type SaleOperation } from '../../src/lua/operate/apply-operation.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';
import { finishRebuild, type RebuiltSale } from '../../src/lua/recover/finish-rebuild.ts';
import { renewFence } from '../../src/lua/recover/renew-fence.ts';
import { stageRebuild } from '../../src/lua/recover/stage-rebuild.ts';

function saleAsMade({
  definition,
  changes,
}: Pick<SaleOperation, 'definition' | 'changes'>): RebuiltSale {
  const stock = changes.map(({ sku, delta }) => {
    const counts = { loaded: delta, remaining: delta, held: 0, confirmed: 0, waiting: 0 };
    return { sku, price: 1_000, ...counts };
  });
  const counters = { operation: 1, position: 0, events: 0, tickets: 0, time: 0 };
  return { definition, stock, operationOutcome: 'applied', gaps: '', ...counters };
}

describe('after a recovery', () => {
  it('events of an older timeline are not written by a persister that still has them', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 40, batchSize: 10, prefix: 'first' });
    const slow = await usePersister(test, redis.url, database.url, { claimIdleMs: 60_000 });
    await untilRows(servers, saleId, 40);
    // The persister reads the next entries and waits for the lock before it writes them.
    const unlock = await lockSaleHistory(servers, saleId);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10, prefix: 'forgotten' });
    await eventually(async () => {
      assert.ok((await pendingCount(servers.shards, saleId)) >= 1, 'it has read some of them');
    });
    await servers.shards.of(saleId).client.flushall();
    // As if another persister had begun a recovery first.
    await servers.sql`UPDATE sales SET timeline = timeline + 1 WHERE sale_id = ${saleId}`;
    await unlock();
    await untilOpen(servers, saleId);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10, prefix: 'after' });
    await untilRows(servers, saleId, 60);
    assert.equal(await rowCount(servers, saleId, 'forgotten-'), 0);
    await assertPromisesHold(servers, saleId);
    assert.equal(await slow.metric('dead_letters_total'), 0);
  });

  it('decisions of a server on a timeline of its own are discarded', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'both' });
    const first = await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 30);
    await first.close();
    // The sale was recovered on another server, while this one was cut off and continued to sell.
    await servers.sql`UPDATE sales SET timeline = timeline + 1, fence = 'another-server' WHERE sale_id = ${saleId}`;
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'alone' });
    await readAndAbandon(servers.shards, saleId, 1);
    await usePersister(test, redis.url, database.url);
    await eventually(async () => {
      assert.deepEqual((await recoveriesOf(servers, saleId)).at(-1), {
        actor: 'persister',
        outcome: 'rebuilt',
        cause: 'redis_is_on_an_older_timeline',
        why: null,
      });
    });
    await untilOpen(servers, saleId);
    assert.equal(await rowCount(servers, saleId), 30);
    assert.equal((await reservationsOf(servers.shards, saleId, 'alone-1')).length, 0);
    await assertPromisesHold(servers, saleId);
  });

  it('a recovery that waited for PostgreSQL does not begin a timeline after a newer one', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'before' });
    await untilRows(servers, saleId, 30);
    const { client } = servers.shards.of(saleId);

    const other = await servers.sql.reserve();
    await other`BEGIN`;
    await other`SELECT FROM sales WHERE sale_id = ${saleId} FOR UPDATE`;
    await client.flushall();
    await untilWaitingForLock(servers, 'UPDATE sales SET timeline');
    // Its locks end with their connection, and it does not notice.
    await servers.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND state = 'idle in transaction' AND application_name = 'flash-sale-persister'`;
    // Another process recovers the sale, which continues to sell.
    const operation = await firstOperationOf(servers, saleId);
    await servers.shards.call(applyOperation, saleId, { operation: 1, timeline: 0, ...operation });
    await other`UPDATE sales SET timeline = timeline + 1, fence = 'a server that is gone' WHERE sale_id = ${saleId}`;
    const closing = 'of-the-other';
    await servers.shards.call(closeSale, saleId, { closing, timeline: 0, begunAfter: '' });
    const renewal = { timeline: 1, closing, events: 0, operation: 1, positionFloor: 0 };
    assert.equal(await servers.shards.call(renewFence, saleId, renewal), 'renewed');
    const numbers = { events: 30, drained: 30, position: 1_000, gaps: '0:1000' };
    await client.hset(saleKey(saleId, 'sale'), numbers);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 5, prefix: 'after' });
    await other`COMMIT`;
    other.release();
    await untilRows(servers, saleId, 50);
    const [row] = await servers.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    assert.equal(row!.timeline, 1);
  });

  it('a rebuild that was frozen does not replace a newer sale', async (test) => {
    const { servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    const empty = { records: [], holds: [], line: [], notes: [] };
    const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
    await call(closeSale, saleId, { closing: 'first', timeline: 0, begunAfter: '' });
    assert.equal(
      await call(stageRebuild, saleId, { timeline: 1, part: 1, portion: empty }),
      'staged',
    );
    // Another recovery opens the sale, which sells, and a third one closes it.
    await call(closeSale, saleId, { closing: 'second', timeline: 0, begunAfter: '' });
    const renewal = { timeline: 2, closing: 'second', events: 0, operation: 1, positionFloor: 0 };
    assert.equal(await call(renewFence, saleId, renewal), 'renewed');
    assert.deepEqual(await stagedKeys(servers, saleId), [], 'the staged keys are removed');
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await call(closeSale, saleId, { closing: 'third', timeline: 2, begunAfter: '' });
    const finished = await call(finishRebuild, saleId, {
      timeline: 1,
      closing: 'third',
      parts: 1,
      sale: saleAsMade(await firstOperationOf(servers, saleId)),
    });
    assert.equal(finished, 'superseded');
    assert.equal((await saleState(servers.shards, saleId)).position, 10);
  });

  for (const outcome of ['open', 'superseded'] as const) {
    it(`staged keys of an older rebuild are removed (${outcome})`, async (test) => {
      const { servers } = await useServers(test);
      const { saleId } = await makeSale(servers);
      const operation = await firstOperationOf(servers, saleId);
      const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
      const portion = {
        records: ['ada', '1\tR\t1'],
        holds: ['1', '1-1'],
        line: ['a', 'b'],
        notes: [],
      };
      await servers.shards.of(saleId).client.flushall();
      assert.equal(await call(stageRebuild, saleId, { timeline: 3, part: 1, portion }), 'staged');
      assert.equal((await stagedKeys(servers, saleId)).length, 6);
      // Created again under the same id, as admin does with a draft.
      await call(applyOperation, saleId, { operation: 1, timeline: 5, ...operation });
      await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
      const closing = 'another';
      if (outcome === 'superseded') {
        await call(closeSale, saleId, { closing, timeline: 5, begunAfter: '' });
      }
      const rebuilt = { timeline: 3, closing, parts: 1, sale: saleAsMade(operation) };
      assert.equal(await call(finishRebuild, saleId, rebuilt), outcome);
      assert.equal((await saleState(servers.shards, saleId)).position, 10);
      const late = { timeline: 3, part: 1, portion };
      assert.equal(await call(stageRebuild, saleId, late), 'superseded');
      assert.deepEqual(await stagedKeys(servers, saleId), []);
    });
  }

  it('the next one waits for a write of the first, though the locks of the first have ended', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 5 });
    await buyMany(servers.shards, saleId, { count: 5, batchSize: 5, prefix: 'early' });
    await redis.restart();
    const unlock = await lockTable(servers, 'reservations', 'SHARE');
    await usePersister(test, redis.url, database.url);
    await untilWaitingForLock(servers, 'INSERT INTO reservations');
    await servers.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND state = 'idle in transaction' AND application_name = 'flash-sale-persister'`;
    // The test's own connection to Redis may still be reconnecting.
    await eventually(() => servers.shards.of(saleId).client.flushall());
    await untilScriptsRan(servers, saleId, 8);
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'unknown_sale', 'it stays closed');
    assert.equal((await waitingForLock(servers, 'INSERT INTO reservations')).length, 1);
    await unlock();
    await untilOpen(servers, saleId);
    const { stock } = await saleState(servers.shards, saleId);
    assert.deepEqual(
      [stock[0]?.remaining, stock[0]?.held, await rowCount(servers, saleId)],
      [0, 5, 5],
    );
    await assertPromisesHold(servers, saleId);
  });
});
