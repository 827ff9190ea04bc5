/**
 * An event that PostgreSQL rejects is set aside as a dead letter, alone. It does not stop other events, and is retried
 * on request.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { rowCount, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendEntry, entryIds, pendingCount } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { lockSaleHistory, rejectRowsUnless } from '../../harness/servers/postgres-faults.ts';
import { FILE } from '../../harness/use.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const { redis, database, servers } = await useServers(FILE);

describe('a poison event', () => {
  async function lettersOf(saleId: string) {
    return [
      ...(await servers.sql`
        SELECT event, reason, attempts, retry_requested_at IS NOT NULL AS requested,
          resolved_at IS NOT NULL AS resolved
        FROM dead_letters WHERE sale_id = ${saleId} ORDER BY event`),
    ];
  }

  async function requestRetry(saleId: string): Promise<void> {
    await servers.sql`
      UPDATE dead_letters SET retry_requested_at = now() WHERE sale_id = ${saleId}`;
  }

  it('is found by bisecting its batch, set aside alone, and written when a retry succeeds', async (test) => {
    const { saleId } = await makeSale(servers);
    const allow = await rejectRowsUnless(
      test,
      servers.sql,
      "buyer_id NOT IN ('buyer-777', 'buyer-778')",
    );
    await buyMany(servers.shards, saleId, { count: 2_000, batchSize: 100 });
    const one = await usePersister(test, redis.url, database.url);

    await untilRows(servers, saleId, 1_998);
    await eventually(async () => assert.deepEqual(await entryIds(servers.shards, saleId), []));
    const refused = await lettersOf(saleId);
    assert.deepEqual(
      refused.map(({ event, attempts }) => ({ event, attempts })),
      [
        { event: 777, attempts: 1 },
        { event: 778, attempts: 1 },
      ],
    );
    for (const { reason } of refused) assert.match(String(reason), /^23514: .*no_poison/);
    assert.equal(await one.metric('dead_letters_total'), 2);

    await requestRetry(saleId);
    await eventually(async () => {
      for (const letter of await lettersOf(saleId)) {
        assert.equal(letter.attempts, 2);
        assert.equal(letter.requested, false, 'one request is one attempt');
        assert.equal(letter.resolved, false);
      }
    });
    await allow();
    await requestRetry(saleId);
    await eventually(async () => {
      for (const letter of await lettersOf(saleId)) assert.equal(letter.resolved, true);
    });
    assert.equal(await rowCount(servers, saleId), 2_000);
    const [history] = await servers.sql`
      SELECT count(*)::int AS count FROM reservation_history WHERE sale_id = ${saleId}`;
    assert.equal(history?.count, 2_000);
  });

  it('is one dead letter, however often it is delivered', async (test) => {
    const { saleId } = await makeSale(servers);
    const { client } = servers.shards.of(saleId);
    await rejectRowsUnless(test, servers.sql, "buyer_id <> 'twice-3'");
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 10, prefix: 'twice' });
    await client.acl('SETUSER', 'default', '-xack');
    const first = await usePersister(test, redis.url, database.url);
    await eventually(async () => assert.equal((await lettersOf(saleId)).length, 1));
    await first.close();
    await client.acl('SETUSER', 'default', '+xack');
    await usePersister(test, redis.url, database.url, { claimIdleMs: 100 });
    await eventually(async () => assert.equal(await pendingCount(servers.shards, saleId), 0));
    assert.equal((await lettersOf(saleId)).length, 1);
    assert.equal(await rowCount(servers, saleId), 9);
  });

  it('in an unreadable entry is set aside with the whole entry', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5, prefix: 'before' });
    const entryId = await appendEntry(servers.shards, saleId, { v: '1', c: 'EUR', d: 'garbage' });
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5, prefix: 'behind' });
    await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 20);
    await eventually(async () => assert.equal(await pendingCount(servers.shards, saleId), 0));
    const letters = [
      ...(await servers.sql`
        SELECT entry_id, event, payload::jsonb AS payload FROM dead_letters WHERE sale_id = ${saleId}`),
    ];
    assert.deepEqual(letters, [
      { entryId, event: null, payload: ['s', '11', 'v', '1', 'c', 'EUR', 'd', 'garbage'] },
    ]);
  });

  it('with an invalid time does not stop later events', async (test) => {
    const { saleId } = await makeSale(servers);
    const beyond = '8640000000000001';
    const now = String(Date.now());
    for (const [reserved, expires, occurred] of [
      [beyond, now, now],
      [now, beyond, now],
      [now, now, beyond],
    ]) {
      const fields = ['1', 'R', '1', 'abcdefgh', 'unit*1', '1000', reserved, expires, ''];
      const line = [...fields, 'bad', occurred, '', 'r', ''].join('\t');
      await appendEntry(servers.shards, saleId, { v: '1', c: 'EUR', d: line });
    }
    await buyMany(servers.shards, saleId, { count: 5, batchSize: 5, prefix: 'behind' });
    await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 5);
    const letters = await lettersOf(saleId);
    assert.equal(letters.length, 3);
    for (const { reason } of letters)
      assert.match(String(reason), /8640000000000001 is not a time/);
  });

  it('is discarded when the sale is recovered before the event is set aside', async (test) => {
    const { saleId } = await makeSale(servers);
    const one = await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5, prefix: 'early' });
    await untilRows(servers, saleId, 10);
    const unlock = await lockSaleHistory(servers, saleId);
    await appendEntry(servers.shards, saleId, { v: '1', c: 'EUR', d: 'garbage' });
    await eventually(async () => {
      const waiting = await servers.sql`
        SELECT FROM pg_stat_activity WHERE datname = current_database()
          AND wait_event = 'advisory' AND query LIKE '%pg_advisory_xact_lock%'`;
      assert.equal(waiting.length, 1, 'the event is about to be set aside');
    });
    // As the recovery of another persister does: events of the older timeline are then void.
    await servers.sql`UPDATE sales SET timeline = timeline + 1 WHERE sale_id = ${saleId}`;
    await unlock();
    await eventually(async () => {
      const reply = await servers.shards.call(readSale, saleId);
      assert.ok(reply.outcome === 'known' && reply.state.timeline === 2);
    });
    assert.deepEqual(await lettersOf(saleId), []);
    assert.equal(await one.metric('dead_letters_total'), 0);
  });
});
