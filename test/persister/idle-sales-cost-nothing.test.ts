/**
 * The persister's work is proportional to events. Sales without any cause no commands, whether they are open or ended; the
 * first event after an idle time is written at once; and nothing depends on the hint that announces it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type TestPersister, usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendTransition, consumerNames, saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import { useShiftedClock } from '../../harness/servers/shifted-clock.ts';

const SALES = 30;
const WATCHED_MS = 1_000;
/** Longer than a test may take, so that only hints and deadlines can cause a sweep. */
const NEVER = { lookMs: 60_000, restLookMs: 60_000, backlogLookMs: 60_000 };

describe('an idle sale', { concurrency: 4 }, () => {
  /** Makes changes of sales look old, because recently changed ones are swept every second. */
  const ageSales = ({ sql }: Connections) =>
    sql`UPDATE sales SET updated_at = now() - interval '1 hour'`;

  async function commandCount({ shards }: Connections): Promise<number> {
    const stats = await shards.of('any').client.info('commandstats');
    const calls = [...stats.matchAll(/^cmdstat_(?!info)[^:]+:calls=(\d+)/gm)];
    return calls.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** Resolves once a second has passed in which Redis ran at most `most` commands. Fails after the usual time. */
  async function untilQuiet(servers: Connections, most: number): Promise<void> {
    await eventually(async () => {
      const before = await commandCount(servers);
      await sleep(WATCHED_MS);
      const commands = (await commandCount(servers)) - before;
      assert.ok(commands <= most, `${commands} commands in ${WATCHED_MS} ms`);
    });
  }

  /** A drain that is awake trims every second. */
  async function untilAsleep(persister: TestPersister): Promise<void> {
    await eventually(async () => {
      const before = await persister.metric('trims_total');
      await sleep(WATCHED_MS + 500);
      assert.equal(await persister.metric('trims_total'), before);
    });
  }

  it('causes no commands, and its first event is written at once', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const open = await makeSale(servers);
    for (let i = 1; i < SALES; i++) {
      await makeSale(servers, { status: (['open', 'paused', 'ended', 'draft'] as const)[i % 4]! });
    }
    await ageSales(servers);
    await usePersister(test, redis.url, database.url, NEVER);
    await untilQuiet(servers, SALES / 2);
    for (const [index, buyer] of ['ada', 'bob'].entries()) {
      await buy(servers.shards, open.saleId, [buyer]);
      await untilRows(servers, open.saleId, index + 1);
      const { drained, events, streamLength } = await saleState(servers.shards, open.saleId);
      assert.ok(drained <= events && streamLength <= 1);
    }
    await untilQuiet(servers, SALES / 2);
  });

  it('is drained by each of several persisters, which all fall asleep again', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await ageSales(servers);
    await usePersister(test, redis.url, database.url, NEVER);
    const other = await usePersister(test, redis.url, database.url, NEVER);
    await untilQuiet(servers, SALES / 2);
    await buy(servers.shards, saleId, ['ada']);
    await untilRows(servers, saleId, 1);
    await untilQuiet(servers, SALES / 2);
    assert.equal((await consumerNames(servers.shards, saleId)).length, 2);
    await other.close();
    await buy(servers.shards, saleId, ['bob']);
    await untilRows(servers, saleId, 2);
  });

  it('ends the first hold after an idle time at its deadline', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { holdSeconds: 1 });
    await ageSales(servers);
    await usePersister(test, redis.url, database.url, NEVER);
    await sleep(1_500);
    await buy(servers.shards, saleId, ['ada']);
    await eventually(async () => {
      const [row] = await servers.sql`SELECT status FROM reservations WHERE sale_id = ${saleId}`;
      assert.equal(row?.status, 'expired');
    });
  });

  for (const [status, timings] of [
    ['open', { ...NEVER, lookMs: 500 }],
    ['ended', { ...NEVER, backlogLookMs: 500 }],
  ] as const) {
    it(`that is ${status} is looked at now and then, so a lost hint delays its events only`, async (test) => {
      const { redis, database, servers } = await useServers(test);
      const sale = await makeSale(servers);
      const [reply] = await buy(servers.shards, sale.saleId, ['ada']);
      assert.ok(reply?.outcome === 'reserved');
      await servers.sql`UPDATE sales SET status = ${status} WHERE sale_id = ${sale.saleId}`;
      await ageSales(servers);
      const persister = await usePersister(test, redis.url, database.url, timings);
      await untilRows(servers, sale.saleId, 1);
      await untilAsleep(persister);
      // Without the hint that the script would send.
      const bought = { buyerId: 'ada', record: reply.record };
      await appendTransition(servers.shards, sale.saleId, bought, { status: 'C' });
      await eventually(async () => {
        const rows = await servers.sql`
          SELECT FROM reservations WHERE sale_id = ${sale.saleId} AND status = 'confirmed'`;
        assert.equal(rows.length, 1);
      });
    });
  }

  it('is swept after the clock of Redis jumped past a deadline', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const clock = await useShiftedClock(test, servers.shards);
    const { saleId } = await makeSale(servers, { holdSeconds: 3_600 });
    await buy(servers.shards, saleId, ['ada']);
    await ageSales(servers);
    await usePersister(test, redis.url, database.url, NEVER);
    await untilRows(servers, saleId, 1);
    await untilQuiet(servers, SALES / 2);
    await clock.set(2 * 3_600_000);
    await eventually(async () => {
      const [row] = await servers.sql`SELECT status FROM reservations WHERE sale_id = ${saleId}`;
      assert.equal(row?.status, 'expired');
    });
  });

  it('is looked at after hints may have been missed', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    const [reply] = await buy(servers.shards, saleId, ['ada']);
    assert.ok(reply?.outcome === 'reserved');
    await ageSales(servers);
    await usePersister(test, redis.url, database.url, NEVER);
    await untilQuiet(servers, SALES / 2);
    const bought = { buyerId: 'ada', record: reply.record };
    await appendTransition(servers.shards, saleId, bought, { status: 'C' });
    await servers.shards.of(saleId).client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually(async () => {
      const rows = await servers.sql`
        SELECT FROM reservations WHERE sale_id = ${saleId} AND status = 'confirmed'`;
      assert.equal(rows.length, 1);
    });
  });
});
