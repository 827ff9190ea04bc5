/**
 * A server that was cut off and sold on by itself, while the sale was recovered on another one, comes back. Nothing that
 * it decided alone is written, and it sells nothing until it has what the other one decided: however often its recovery
 * fails, and whenever a connection comes to lead to it.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { type CuttableProxy, startCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { type Connections, useConnections, useServers } from '../../harness/servers/connections.ts';
import type { TestDatabase } from '../../harness/servers/postgres.ts';
import { type TestRedis, useRedis } from '../../harness/servers/redis.ts';
import { type Scope, use } from '../../harness/use.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';
import { verifySale } from '../../src/verify/verify.ts';

describe('an old master that sold on alone', () => {
  let old: TestRedis;
  let database: TestDatabase;
  let atOld: Connections;

  beforeEach(async (test) => {
    assert.ok('after' in test);
    ({ redis: old, database, servers: atOld } = await useServers(test));
  });

  async function rows(saleId: string, prefix: string): Promise<number> {
    const [row] = await atOld.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM reservations
      WHERE sale_id = ${saleId} AND buyer_id LIKE ${`${prefix}-%`}`;
    return row!.count;
  }

  async function untilOpen({ shards }: Connections, saleId: string): Promise<void> {
    await eventually(async () => {
      assert.equal((await shards.call(readSale, saleId)).outcome, 'known');
    });
  }

  /** The sale of 50 units, 30 of them sold while there was one master, recovered on a new one. */
  async function recoveredElsewhere(test: Scope) {
    const { saleId } = await makeSale(atOld, { stock: 50 });
    await buyMany(atOld.shards, saleId, { count: 30, batchSize: 10, prefix: 'both' });
    const first = await usePersister(test, old.url, database.url);
    await eventually(async () => assert.equal(await rows(saleId, 'both'), 30));
    await first.close();
    const current = await useRedis(test);
    const atCurrent = await useConnections(test, current.url, database.url);
    const second = await usePersister(test, current.url, database.url);
    await untilOpen(atCurrent, saleId);
    return { saleId, current, atCurrent, second };
  }

  /** A way to the present master that can be made to lead to the old one. */
  async function switchable(
    test: Scope,
    current: TestRedis,
  ): Promise<{ url: string; leadToOld: () => void; proxy: CuttableProxy }> {
    const target = { host: '127.0.0.1', port: current.port };
    const proxy = await use(
      test,
      () => startCuttableProxy(target),
      (started) => started.close(),
    );
    const leadToOld = () => {
      target.port = old.port;
      proxy.cutAll();
    };
    return { url: `redis://127.0.0.1:${proxy.port}`, leadToOld, proxy };
  }

  /** So that the old master has been met by the time that PostgreSQL goes on. */
  async function untilConnectedToOld(): Promise<void> {
    await eventually(async () => {
      const clients = (await atOld.shards.of('any').client.client('LIST')) as string;
      const ready = /name=flash-sale-persister .*cmd=(?!client|info)/.exec(clients);
      assert.ok(ready, 'the persister is there');
    });
  }

  async function untilWaiting(where: ReturnType<Connections['sql']>): Promise<void> {
    await eventually(async () => {
      const [row] = await atOld.sql<{ count: number }[]>`
        SELECT count(*)::int AS count FROM pg_stat_activity
        WHERE datname = current_database() AND ${where}`;
      assert.ok(row!.count >= 1);
    });
  }

  /** Something is left of it that a rebuild would forget. */
  async function setAside(saleId: string): Promise<void> {
    await atOld.sql`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES (${saleId}, '1-1', 3, 'EUR', '-', 'a test')`;
  }

  async function lastRecovery(saleId: string): Promise<Record<string, unknown> | undefined> {
    const [row] = await atOld.sql`
      SELECT outcome, report->>'cause' AS cause FROM sale_recoveries
      WHERE sale_id = ${saleId} ORDER BY recovery_id DESC LIMIT 1`;
    return row && { ...row };
  }

  async function assertNothingOfItsOwn(saleId: string, elsewhere: number): Promise<void> {
    await eventually(async () => {
      assert.deepEqual(await lastRecovery(saleId), {
        outcome: 'rebuilt',
        cause: 'redis_forgot_decisions',
      });
    });
    await untilOpen(atOld, saleId);
    const sold = [];
    for (const prefix of ['both', 'there', 'alone']) sold.push(await rows(saleId, prefix));
    assert.deepEqual(sold, [30, elsewhere, 0]);
    const report = await verifySale(atOld, saleId);
    assert.deepEqual(
      report.checks.filter(({ ok }) => !ok),
      [],
    );
    const letters = await atOld.sql`SELECT FROM dead_letters WHERE resolved_at IS NULL`;
    assert.equal(letters.length, 0);
  }

  it('stays a stranger when its recovery is blocked and tried again', async (test) => {
    const { saleId, atCurrent, second } = await recoveredElsewhere(test);
    await buyMany(atCurrent.shards, saleId, { count: 10, batchSize: 10, prefix: 'there' });
    await eventually(async () => assert.equal(await rows(saleId, 'there'), 10));
    await second.close();
    await buyMany(atOld.shards, saleId, { count: 20, batchSize: 10, prefix: 'alone' });

    await setAside(saleId);
    const third = await usePersister(test, old.url, database.url);
    await eventually(async () => assert.equal(await third.metric('sales_not_recovered'), 1));
    const [{ timeline: tried } = { timeline: 0 }] = await atOld.sql`
      SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    await eventually(async () => {
      const [row] = await atOld.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
      assert.ok(row!.timeline > tried, 'tried again');
    });
    await atOld.sql`UPDATE dead_letters SET resolved_at = now()`;
    await assertNothingOfItsOwn(saleId, 10);
  });

  it('stays a stranger when its recovery dies once it has begun a timeline', async (test) => {
    const { saleId, second } = await recoveredElsewhere(test);
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
    await assertNothingOfItsOwn(saleId, 0);
    const [row] = await atOld.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    assert.equal(row!.timeline, 3, 'the first one died');
  });

  it('is looked at anew when a connection comes to lead to it while the sale is found open', async (test) => {
    const { saleId, current, atCurrent, second } = await recoveredElsewhere(test);
    await second.close();
    const { url, leadToOld, proxy } = await switchable(test, current);
    await usePersister(test, url, database.url);
    await buyMany(atCurrent.shards, saleId, { count: 5, batchSize: 5, prefix: 'there' });
    await eventually(async () => assert.equal(await rows(saleId, 'there'), 5));
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 10, prefix: 'alone' });

    const lock = await atOld.sql.reserve();
    await lock`BEGIN`;
    await lock`LOCK TABLE sales IN ACCESS EXCLUSIVE MODE`;
    // It has asked the present master for the sale, and asks PostgreSQL.
    proxy.cutAll();
    await untilWaiting(atOld.sql`wait_event_type = 'Lock' AND query LIKE '%was_in_redis%'`);
    leadToOld();
    await untilConnectedToOld();
    await lock`COMMIT`;
    lock.release();
    await assertNothingOfItsOwn(saleId, 5);
  });

  it('is not drained by a recovery that began on the present master', async (test) => {
    const { saleId, current, atCurrent, second } = await recoveredElsewhere(test);
    await second.close();
    await buyMany(atCurrent.shards, saleId, { count: 5, batchSize: 5, prefix: 'there' });
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 1, prefix: 'alone' });
    await current.restart();
    const { url, leadToOld } = await switchable(test, current);
    const lock = await atOld.sql.reserve();
    await lock`BEGIN`;
    await lock`LOCK TABLE reservations IN SHARE MODE`;
    await usePersister(test, url, database.url);
    await untilWaiting(
      atOld.sql`wait_event_type = 'Lock' AND query LIKE '%INSERT INTO reservations%'`,
    );
    leadToOld();
    await untilConnectedToOld();
    await lock`COMMIT`;
    lock.release();
    await assertNothingOfItsOwn(saleId, 5);
  });

  it('is not opened by a recovery that drained the present master', async (test) => {
    const { saleId, current, second } = await recoveredElsewhere(test);
    await second.close();
    await buyMany(atOld.shards, saleId, { count: 10, batchSize: 10, prefix: 'alone' });
    await current.restart();
    await atOld.sql.unsafe(`
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(2); RETURN NEW; END';
      CREATE TRIGGER slow BEFORE UPDATE ON sales FOR EACH ROW
        WHEN (OLD.timeline = 1 AND NEW.timeline = 2) EXECUTE FUNCTION slow()`);
    const { url, leadToOld } = await switchable(test, current);
    await usePersister(test, url, database.url);
    await untilWaiting(atOld.sql`wait_event = 'PgSleep'`);
    leadToOld();
    await assertNothingOfItsOwn(saleId, 0);
  });

  it('is told from the sale that was closed, drained and not opened yet', async () => {
    const { saleId } = await makeSale(atOld);
    const close = (closing: string, timeline: number, begunAfter: string) =>
      atOld.shards.call(closeSale, saleId, { closing, timeline, begunAfter });
    assert.equal(await close('a', 0, ''), 'closed');
    assert.equal(await close('b', 1, ''), 'foreign', 'begun after a closing elsewhere');
    assert.equal(await close('c', 2, ''), 'foreign', 'or after that one');
    assert.equal(await close('d', 2, 'c'), 'closed', 'begun after this very closing');
    assert.equal(await close('e', 2, 'c'), 'closed', 'also when closed again since');
    assert.equal(await close('f', 3, 'c'), 'foreign');
  });
});
