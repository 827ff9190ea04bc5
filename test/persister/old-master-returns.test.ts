/**
 * An old master was cut off and continued to sell while the sale was recovered on a new one. When it returns, its own
 * decisions are not written, and it sells nothing until it has those of the new master. This holds however often its
 * recovery fails, and whenever a connection is switched to it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { type CuttableProxy, startCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { addDeadLetter, untilOpen, untilPersisterConnected } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, rowCount, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { type Connections, useConnections, useServers } from '../../harness/servers/connections.ts';
import {
  lockTable,
  untilSleeping,
  untilWaitingForLock,
} from '../../harness/servers/postgres-faults.ts';
import { type TestRedis, useRedis } from '../../harness/servers/redis.ts';
import { type Scope, use } from '../../harness/use.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';

describe('an old master that continued to sell alone', () => {
  /** A sale of 50 units, 30 of them sold while there was one master, recovered on a new one. */
  async function recoveredElsewhere(test: Scope) {
    const { redis: old, database, servers: atOld } = await useServers(test);
    const { saleId } = await makeSale(atOld, { stock: 50 });
    await buyMany(atOld.shards, saleId, { count: 30, batchSize: 10, prefix: 'both' });
    const first = await usePersister(test, old.url, database.url);
    await untilRows(atOld, saleId, 30, 'both-');
    await first.close();
    const current = await useRedis(test);
    const atCurrent = await useConnections(test, current.url, database.url);
    const second = await usePersister(test, current.url, database.url);
    await untilOpen(atCurrent, saleId);
    return { old, database, atOld, saleId, current, atCurrent, second };
  }

  /** A proxy to the new master that can be switched to the old one. */
  async function switchable(
    test: Scope,
    current: TestRedis,
    old: TestRedis,
  ): Promise<{ url: string; leadToOld: () => void; proxy: CuttableProxy }> {
    const target = { host: '127.0.0.1', port: current.port };
    const proxy = await use(test, () => startCuttableProxy(target));
    const leadToOld = () => {
      target.port = old.port;
      proxy.cutAll();
    };
    return { url: `redis://127.0.0.1:${proxy.port}`, leadToOld, proxy };
  }

  async function lastRecovery(
    { sql }: Connections,
    saleId: string,
  ): Promise<Record<string, unknown> | undefined> {
    const [row] = await sql`
      SELECT outcome, report->>'cause' AS cause FROM sale_recoveries
      WHERE sale_id = ${saleId} ORDER BY recovery_id DESC LIMIT 1`;
    return row && { ...row };
  }

  async function assertNothingOfItsOwn(
    atOld: Connections,
    saleId: string,
    elsewhere: number,
  ): Promise<void> {
    await eventually(async () => {
      assert.deepEqual(await lastRecovery(atOld, saleId), {
        outcome: 'rebuilt',
        cause: 'redis_is_on_an_older_timeline',
      });
    });
    await untilOpen(atOld, saleId);
    const sold = [];
    for (const prefix of ['both', 'there', 'alone'])
      sold.push(await rowCount(atOld, saleId, `${prefix}-`));
    assert.deepEqual(sold, [30, elsewhere, 0]);
    await assertPromisesHold(atOld, saleId);
    const letters = await atOld.sql`SELECT FROM dead_letters WHERE resolved_at IS NULL`;
    assert.equal(letters.length, 0);
  }

  it('keeps no decision of its own when its recovery is blocked and retried', async (test) => {
    const { old, database, atOld, saleId, atCurrent, second } = await recoveredElsewhere(test);
    await buyMany(atCurrent.shards, saleId, { count: 10, batchSize: 10, prefix: 'there' });
    await untilRows(atOld, saleId, 10, 'there-');
    await second.close();
    await buyMany(atOld.shards, saleId, { count: 20, batchSize: 10, prefix: 'alone' });

    await addDeadLetter(atOld, saleId);
    const third = await usePersister(test, old.url, database.url);
    await eventually(async () => assert.equal(await third.metric('sales_not_recovered'), 1));
    const [{ timeline: tried } = { timeline: 0 }] = await atOld.sql`
      SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    await eventually(async () => {
      const [row] = await atOld.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
      assert.ok(row!.timeline > tried, 'another attempt');
    });
    await atOld.sql`UPDATE dead_letters SET resolved_at = now()`;
    await assertNothingOfItsOwn(atOld, saleId, 10);
  });

  it('keeps no decision of its own when its recovery dies after beginning a timeline', async (test) => {
    const { old, database, atOld, saleId, second } = await recoveredElsewhere(test);
    await second.close();
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 10, prefix: 'alone' });
    await atOld.sql.unsafe(`
      CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE state = 'idle in transaction' AND application_name = 'flash-sale-persister'
          AND datname = current_database();
        RETURN NEW; END $$;
      CREATE TRIGGER die BEFORE UPDATE ON sales FOR EACH ROW
        WHEN (OLD.timeline = 1 AND NEW.timeline = 2) EXECUTE FUNCTION die()`);
    await usePersister(test, old.url, database.url);
    await assertNothingOfItsOwn(atOld, saleId, 0);
    const [row] = await atOld.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    assert.equal(row!.timeline, 3, 'the first recovery died');
  });

  it('is checked again when a connection is switched to it while a check finds the sale open', async (test) => {
    const { old, database, atOld, saleId, current, atCurrent, second } =
      await recoveredElsewhere(test);
    await second.close();
    const { url, leadToOld, proxy } = await switchable(test, current, old);
    await usePersister(test, url, database.url);
    await buyMany(atCurrent.shards, saleId, { count: 5, batchSize: 5, prefix: 'there' });
    await untilRows(atOld, saleId, 5, 'there-');
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 10, prefix: 'alone' });

    const unlock = await lockTable(atOld, 'sales', 'ACCESS EXCLUSIVE');
    // The persister has read the sale from the new master, and now queries PostgreSQL.
    proxy.cutAll();
    await untilWaitingForLock(atOld, 'was_in_redis');
    leadToOld();
    await untilPersisterConnected(atOld);
    await unlock();
    await assertNothingOfItsOwn(atOld, saleId, 5);
  });

  it('is not drained by a recovery that began on the new master', async (test) => {
    const { old, database, atOld, saleId, current, atCurrent, second } =
      await recoveredElsewhere(test);
    await second.close();
    await buyMany(atCurrent.shards, saleId, { count: 5, batchSize: 5, prefix: 'there' });
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 1, prefix: 'alone' });
    await current.restart();
    const { url, leadToOld } = await switchable(test, current, old);
    const unlock = await lockTable(atOld, 'reservations', 'SHARE');
    await usePersister(test, url, database.url);
    await untilWaitingForLock(atOld, 'INSERT INTO reservations');
    leadToOld();
    await untilPersisterConnected(atOld);
    await unlock();
    await assertNothingOfItsOwn(atOld, saleId, 5);
  });

  it('is not opened by a recovery that drained the new master', async (test) => {
    const { old, database, atOld, saleId, current, second } = await recoveredElsewhere(test);
    await second.close();
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 10, prefix: 'alone' });
    await current.restart();
    await atOld.sql.unsafe(`
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(2); RETURN NEW; END';
      CREATE TRIGGER slow BEFORE UPDATE ON sales FOR EACH ROW
        WHEN (OLD.timeline = 1 AND NEW.timeline = 2) EXECUTE FUNCTION slow()`);
    const { url, leadToOld } = await switchable(test, current, old);
    await usePersister(test, url, database.url);
    await untilSleeping(atOld);
    leadToOld();
    await assertNothingOfItsOwn(atOld, saleId, 0);
  });

  it('is distinguished from a server whose sale was closed, drained and not yet opened', async (test) => {
    const { servers: atOld } = await useServers(test);
    const { saleId } = await makeSale(atOld);
    const close = (closing: string, timeline: number, begunAfter: string) =>
      atOld.shards.call(closeSale, saleId, { closing, timeline, begunAfter });
    assert.equal(await close('a', 0, ''), 'closed');
    assert.equal(
      await close('b', 1, ''),
      'foreign',
      'the timeline began after a closing elsewhere',
    );
    assert.equal(await close('c', 2, ''), 'foreign', 'also for a later timeline');
    assert.equal(await close('d', 2, 'c'), 'closed', 'the timeline began after this closing');
    assert.equal(await close('e', 2, 'c'), 'closed', 'also when closed again');
    assert.equal(await close('f', 3, 'c'), 'foreign');
    assert.equal(
      await close('g', 3, 'e'),
      'closed',
      'others closed it after the one that began the timeline',
    );
    assert.equal(await close('h', 4, 'd'), 'foreign');
  });
});
