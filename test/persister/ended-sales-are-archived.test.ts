/**
 * Ended sales are archived by themselves. A crash between two steps, or a Redis that loses its memory, leaves nothing half
 * archived.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { archive, makeEndedSale } from '../../harness/sales/archives.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { FILE } from '../../harness/use.ts';
import { archiveSale } from '../../src/archive/archive-sale.ts';
import { closeEndedSale } from '../../src/lua/archive/close-ended-sale.ts';
import { markArchived } from '../../src/lua/archive/mark-archived.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import type { Script } from '../../src/lua/script.ts';
import type { Shards } from '../../src/redis/shards.ts';

const SOON_DAYS = 0.5 / 86_400;
const CALLER = { actor: 'test', requestId: 'test' };

const admin = await useAdmin(FILE);
const { sql, shards } = admin;
await usePersister(FILE, admin.redis.url, admin.databaseUrl);
const hotPath = await useHotPath(FILE, admin.redis.url);

const redisOf = async (saleId: string) => {
  const reply = await shards.call(readSale, saleId);
  return reply.outcome === 'unknown_sale' && reply.isArchived ? 'archived' : reply.outcome;
};
const statusOfView = async (saleId: string) => (await hotPath.call(`/v1/sales/${saleId}`)).status;

/** The same shards, on which a call fails before or after it ran, as if the process died there. */
function dyingAt(script: Script<never[], unknown> | object, when: 'before' | 'after'): Shards {
  return new Proxy(shards, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (name !== 'call') return typeof member === 'function' ? member.bind(target) : member;
      return async (called: Script<unknown[], unknown>, saleId: string, ...args: unknown[]) => {
        if (called === script && when === 'before') throw new Error('died');
        const reply = await target.call(called, saleId, ...args);
        if (called === script) throw new Error('died');
        return reply;
      };
    },
  });
}

test('after a crash behind the close, recovery opens the sale again, and it is archived later', async () => {
  const { saleId, ids } = await makeEndedSale(admin);
  const dying = { sql, shards: dyingAt(closeEndedSale, 'after') };
  await assert.rejects(archiveSale(dying, saleId, CALLER), /died/);
  assert.equal(await redisOf(saleId), 'recovering');
  // Nothing can be decided between the comparison and the commit.
  const refund = await admin.call(`POST /reservations/${ids.ada}/cancel`);
  assert.deepEqual([refund.status, refund.body.code], [503, 'recovering']);
  await eventually(async () => assert.equal(await redisOf(saleId), 'known'), { timeoutMs: 30_000 });
  await assertPromisesHold(admin, saleId);
  await eventually(() => archive(admin, saleId));
  assert.equal(await redisOf(saleId), 'archived');
});

test('after a crash behind the commit, a request of a buyer or an operator completes the archive', async () => {
  for (const [script, when] of [
    [markArchived, 'before'],
    [markArchived, 'after'],
  ] as const) {
    const { saleId, ids } = await makeEndedSale(admin);
    const dying = { sql, shards: dyingAt(script, when) };
    await assert.rejects(archiveSale(dying, saleId, CALLER), /died/);
    // PostgreSQL decides already.
    const refund = await admin.call(`POST /reservations/${ids.ada}/cancel`);
    assert.equal(refund.status, 200, JSON.stringify(refund.body));
    await eventually(async () => assert.equal(await statusOfView(saleId), 410));
    assert.equal(await redisOf(saleId), 'archived');
    await archive(admin, saleId);
    await assertPromisesHold(admin, saleId);
    const [row] = await sql`
      SELECT archive_marked_at FROM sales WHERE sale_id = ${saleId}`;
    assert.ok(row!.archiveMarkedAt);
  }
});

test('after FLUSHALL an archived sale costs nothing until it is requested, and then gets 410 again', async () => {
  const { saleId } = await makeEndedSale(admin);
  await archive(admin, saleId);
  await eventually(async () => assert.equal(await statusOfView(saleId), 410));
  const { client } = shards.of(saleId);
  await client.flushall();
  assert.deepEqual(await client.keys(`fs:{${saleId}}:*`), []);
  // This process forgets the marker after some seconds; another one asks at once.
  const other = await useHotPath(FILE, admin.redis.url);
  await eventually(async () => {
    assert.equal((await other.call(`/v1/sales/${saleId}`)).status, 410);
  });
  await assertPromisesHold(admin, saleId);
});

test('a sale is archived ARCHIVE_AFTER_DAYS after its end, and the others are tried again', async (scope) => {
  const [settled, held] = await Promise.all([makeEndedSale(admin), makeEndedSale(admin)]);
  await sql`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
    VALUES (${held.saleId}, '1-1', 99, 'EUR', '', 'test')`;
  const persister = await usePersister(
    scope,
    admin.redis.url,
    admin.databaseUrl,
    { archive: { intervalMs: 100, retryMs: 300 } },
    { ARCHIVE_AFTER_DAYS: String(SOON_DAYS) },
  );
  await eventually(async () => assert.equal(await redisOf(settled.saleId), 'archived'));
  await eventually(async () => {
    const [row] = await sql`
      SELECT archive_blocked_by FROM sales WHERE sale_id = ${held.saleId}`;
    assert.equal(row!.archiveBlockedBy, 'dead_letters_unresolved');
  });
  assert.ok((await stateInRedis(admin, held.saleId)).events > 0);
  await sql`DELETE FROM dead_letters WHERE sale_id = ${held.saleId}`;
  await eventually(async () => assert.equal(await redisOf(held.saleId), 'archived'));
  assert.ok((await persister.metric('archive_attempts_total')) >= 2);
});

test('a process of the previous version neither sells nor reopens an archived sale', async () => {
  const { saleId } = await makeEndedSale(admin);
  await archive(admin, saleId);
  const { client } = shards.of(saleId);
  // What its scripts do first: compare the fence, and clear one that is not theirs.
  const key = `fs:{${saleId}}:sale`;
  assert.deepEqual(await client.hmget(key, 'fence', 'name', 'forgotten'), ['', null, null]);
  await assert.rejects(
    sql`UPDATE sales SET timeline = timeline + 1 WHERE sale_id = ${saleId}`,
    /is archived/,
  );
});
