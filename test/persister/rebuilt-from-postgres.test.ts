/**
 * A sale of which Redis has forgotten something, or everything, is rebuilt from PostgreSQL and sells on: nobody who is
 * in PostgreSQL loses anything, no unit is sold twice, no position is given twice, and no older decision turns up later.
 */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { readAndAbandon, saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import type { TestDatabase } from '../../harness/servers/postgres.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';
import { RESERVATION_TRANSITIONS } from '../../src/domain/reservation.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { REBUILD_KEYS, saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type SaleOperation } from '../../src/lua/operate/apply-operation.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';
import { finishRebuild, type RebuiltSale } from '../../src/lua/recover/finish-rebuild.ts';
import { renewFence } from '../../src/lua/recover/renew-fence.ts';
import { stageRebuild } from '../../src/lua/recover/stage-rebuild.ts';
import { verifySale } from '../../src/verify/verify.ts';

const SKIPPED = 5_000_000;

describe('rebuilt from postgres', () => {
  let redis: TestRedis;
  let database: TestDatabase;
  let servers: Connections;

  beforeEach(async (test) => {
    assert.ok('after' in test);
    ({ redis, database, servers } = await useServers(test));
  });

  async function rows(saleId: string): Promise<number> {
    const [row] = await servers.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
    return row!.count;
  }

  async function untilOpen(saleId: string): Promise<void> {
    await eventually(async () => {
      const reply = await servers.shards.call(readSale, saleId);
      assert.equal(reply.outcome, 'known');
    });
  }

  async function assertVerified(saleId: string): Promise<void> {
    const report = await verifySale(servers, saleId);
    assert.deepEqual(
      report.checks.filter(({ ok }) => !ok),
      [],
    );
  }

  /** An operation as admin records one, without Redis' hearing of it. */
  async function recordOperation(
    saleId: string,
    one: { operation: number; delta: number; outcome: 'applied' | 'pending' },
  ): Promise<void> {
    const { operation, delta, outcome } = one;
    await servers.sql.begin(async (tx) => {
      await tx`
      INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
      SELECT sale_id, ${operation}, 'load', definition, ${tx.json([{ sku: 'unit', delta }])},
        ${outcome}, 'test', 'test'
      FROM sale_operations WHERE sale_id = ${saleId} AND operation = 1`;
      await tx`
      INSERT INTO stock_ledger (sale_id, operation, sku, delta, outcome)
      VALUES (${saleId}, ${operation}, 'unit', ${delta}, ${outcome})`;
    });
  }

  function saleAsMade(
    definition: SaleOperation['definition'],
    changes: SaleOperation['changes'],
  ): RebuiltSale {
    const stock = changes.map(({ sku, delta }) => {
      const counts = { loaded: delta, remaining: delta, held: 0, confirmed: 0, waiting: 0 };
      return { sku, price: 1_000, ...counts };
    });
    const counters = { operation: 1, position: 0, events: 0, tickets: 0 };
    return { definition, stock, operationOutcome: 'applied', gaps: '', ...counters };
  }

  /** Which keys of a rebuild there are. */
  async function staged(saleId: string): Promise<string[]> {
    const { client } = servers.shards.of(saleId);
    const found = await Promise.all(REBUILD_KEYS.map((key) => client.exists(saleKey(saleId, key))));
    return REBUILD_KEYS.filter((_, index) => found[index] === 1);
  }

  async function definitionOf(
    saleId: string,
  ): Promise<Pick<SaleOperation, 'definition' | 'changes'>> {
    const [row] = await servers.sql<Pick<SaleOperation, 'definition' | 'changes'>[]>`
      SELECT definition, changes FROM sale_operations WHERE sale_id = ${saleId} AND operation = 1`;
    return row!;
  }

  /** What every recovery reported, oldest first. */
  async function recoveries(saleId: string): Promise<Record<string, unknown>[]> {
    return [
      ...(await servers.sql`
        SELECT actor, outcome, report->>'cause' AS cause FROM sale_recoveries
        WHERE sale_id = ${saleId} ORDER BY recovery_id`),
    ];
  }

  const move = (reservationId: string, to: 'confirm' | 'cancel' | 'extend') => {
    const [saleId, position, tag] = reservationId.split('_');
    assert.ok(RESERVATION_TRANSITIONS[to]);
    return servers.shards.call(transition, saleId!, {
      address: { saleId: saleId!, position: Number(position), tag: tag! },
      transition: to,
      detail: '',
      requestId: 'request-of-test',
      traceparent: '',
      tag: 'testtest',
    });
  };

  const reservationsOf = async (saleId: string, buyerId: string) => {
    const reply = await servers.shards.call(readBuyer, saleId, buyerId);
    if (reply.outcome !== 'known') throw new Error(reply.outcome);
    return reply.reservations;
  };

  it('after FLUSHALL in the middle of it, with every state of a reservation', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 200, perBuyerLimit: 3 });
    const one = await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 150, batchSize: 7, prefix: 'buyer' });
    const ids: string[] = [];
    for (const number of [1, 2, 3, 4]) {
      ids.push((await reservationsOf(saleId, `buyer-${number}`))[0]!.reservationId);
    }
    await move(ids[0]!, 'confirm');
    await move(ids[1]!, 'cancel');
    await move(ids[2]!, 'extend');
    await move(ids[3]!, 'confirm');
    await move(ids[3]!, 'cancel');
    await buy(servers.shards, saleId, ['buyer-2']);
    await eventually(async () => {
      const { drained, events } = await saleState(servers.shards, saleId);
      assert.equal(drained, events);
    });
    const before = await saleState(servers.shards, saleId);
    const [firstBefore, secondBefore] = [
      await reservationsOf(saleId, 'buyer-1'),
      await reservationsOf(saleId, 'buyer-2'),
    ];

    await servers.shards.of(saleId).client.flushall();
    await untilOpen(saleId);

    const after = await saleState(servers.shards, saleId);
    assert.deepEqual(after.stock, before.stock);
    assert.deepEqual(after.definition, before.definition);
    assert.equal(after.events, before.events);
    assert.equal(after.position, before.position + SKIPPED);
    assert.deepEqual(await reservationsOf(saleId, 'buyer-1'), firstBefore);
    assert.deepEqual(await reservationsOf(saleId, 'buyer-2'), secondBefore);
    // Repeats are recognized, moves go on from where they were, and the extension is still the only one.
    assert.equal((await buy(servers.shards, saleId, ['buyer-5']))[0]?.outcome, 'replayed');
    assert.equal((await move(ids[2]!, 'extend')).outcome, 'repeated');
    assert.equal((await move(ids[2]!, 'confirm')).outcome, 'changed');
    const [fresh] = await buy(servers.shards, saleId, ['newcomer']);
    assert.equal(fresh?.outcome, 'reserved');
    const [newest] = await reservationsOf(saleId, 'newcomer');
    assert.equal(newest?.position, before.position + SKIPPED + 1);
    assert.equal((await move(newest.reservationId, 'confirm')).outcome, 'changed');
    await assertVerified(saleId);
    assert.deepEqual(await recoveries(saleId), [
      { actor: 'persister', outcome: 'rebuilt', cause: 'redis_forgot_the_sale' },
    ]);
    assert.equal(await one.metric('recovery_duration_seconds_count'), 1);

    // And again: positions that were left out stay so.
    await servers.shards.of(saleId).client.flushall();
    await untilOpen(saleId);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 5, prefix: 'later' });
    const [later] = await reservationsOf(saleId, 'later-1');
    assert.equal(later?.position, newest.position + SKIPPED + 1);
    assert.equal((await move(later.reservationId, 'cancel')).outcome, 'changed');
    await assertVerified(saleId);
  });

  const [logs, kept] = ['appendonlydir', 'kept'];
  async function keepWhatRedisWrote(): Promise<void> {
    cpSync(join(redis.directory, logs), join(redis.directory, kept), { recursive: true });
  }

  /** As if everything since `keepWhatRedisWrote` had not reached the disk. */
  async function restartWithWhatWasKept(): Promise<void> {
    await redis.kill();
    rmSync(join(redis.directory, logs), { recursive: true });
    cpSync(join(redis.directory, kept), join(redis.directory, logs), { recursive: true });
    await redis.start();
  }

  it('without a tail that postgres has, with those in line whom it has not served', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 100 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 100, batchSize: 10, prefix: 'first' });
    for (const buyerId of ['ada', 'bob', 'cyd']) {
      await servers.shards.call(joinWaitlist, saleId, { buyerId, sku: 'unit', quantity: 1 });
    }
    await eventually(async () => assert.equal(await rows(saleId), 100));
    await keepWhatRedisWrote();
    const [given] = await reservationsOf(saleId, 'first-7');
    await move(given!.reservationId, 'cancel');
    await eventually(async () => assert.equal(await rows(saleId), 101));
    assert.equal((await reservationsOf(saleId, 'ada')).length, 1, 'the line was served');

    await restartWithWhatWasKept();
    await untilOpen(saleId);
    assert.equal((await reservationsOf(saleId, 'ada')).length, 1);
    const { stock } = await saleState(servers.shards, saleId);
    assert.equal(stock[0]?.waiting, 2);
    const [another] = await reservationsOf(saleId, 'first-8');
    await move(another!.reservationId, 'cancel');
    assert.equal((await reservationsOf(saleId, 'bob')).length, 1, 'the next in line');
    await assertVerified(saleId);
    assert.deepEqual(await recoveries(saleId), [
      { actor: 'persister', outcome: 'rebuilt', cause: 'redis_forgot_decisions' },
    ]);
  });

  it('without an operation that redis had applied: what was withdrawn stays withdrawn', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 100 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await eventually(async () => assert.equal(await rows(saleId), 10));
    await recordOperation(saleId, { operation: 2, delta: -90, outcome: 'applied' });
    await redis.restart();
    await untilOpen(saleId);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [10, 0, 2]);
    assert.equal((await buy(servers.shards, saleId, ['late']))[0]?.outcome, 'sold_out');
    await assertVerified(saleId);
  });

  it('a pending operation that sold units is counted in, one that sold none is left to be applied', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 10 });
    await recordOperation(saleId, { operation: 2, delta: 5, outcome: 'pending' });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await eventually(async () => assert.equal(await rows(saleId), 10));
    const { client } = servers.shards.of(saleId);
    await client.flushall();
    await untilOpen(saleId);
    assert.equal((await saleState(servers.shards, saleId)).operation, 1);

    await client.hset(saleKey(saleId, 'sale'), 'operation', 2, 'operationOutcome', 'applied');
    await client.hincrby(saleKey(saleId, 'stock'), 'unit:loaded', 5);
    await client.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 5);
    await buyMany(servers.shards, saleId, { count: 3, batchSize: 3, prefix: 'more' });
    await eventually(async () => assert.equal(await rows(saleId), 13));
    await client.flushall();
    await untilOpen(saleId);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [15, 2, 2]);
  });

  it('stays closed, and says why, while that would forget a dead letter or sell what is not there', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 10 });
    const one = await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await eventually(async () => assert.equal(await rows(saleId), 10));
    const whys = async () =>
      (
        await servers.sql`SELECT report->>'why' AS why FROM sale_recoveries
          WHERE sale_id = ${saleId} ORDER BY recovery_id`
      ).map((row) => String(row.why));
    await servers.sql`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES (${saleId}, '1-1', 3, 'EUR', '-', 'a test')`;
    await recordOperation(saleId, { operation: 2, delta: -1, outcome: 'applied' });
    await servers.shards.of(saleId).client.flushall();
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 1));
    await eventually(async () => assert.match((await whys()).at(-1) ?? '', /dead letters/));
    await servers.sql`UPDATE dead_letters SET resolved_at = now()`;
    await eventually(async () => assert.match((await whys()).at(-1) ?? '', /unit: 10 of 9/));
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'unknown_sale');
    await recordOperation(saleId, { operation: 3, delta: 1, outcome: 'pending' });
    await untilOpen(saleId);
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 0));
    await eventually(async () => {
      assert.equal((await whys()).length, 3, 'each trouble once, then the recovery');
    });
  });

  it('nothing of an older timeline is written, whoever still has it', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 40, batchSize: 10, prefix: 'first' });
    const slow = await usePersister(test, redis.url, database.url, { claimIdleMs: 60_000 });
    await eventually(async () => assert.equal(await rows(saleId), 40));
    // It reads the next entries and can't write them: somebody else is writing.
    const blocker = await servers.sql.reserve();
    await blocker`SELECT pg_advisory_lock(5702418, hashtext(${saleId}))`;
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10, prefix: 'forgotten' });
    const { client } = servers.shards.of(saleId);
    await eventually(async () => {
      const pending = await client.xpending(saleKey(saleId, 'events'), 'persister');
      assert.ok(Number(pending[0]) >= 1, 'it has some of them');
    });
    await client.flushall();
    // As the recovery of another persister would, had it come first.
    await servers.sql`UPDATE sales SET timeline = timeline + 1 WHERE sale_id = ${saleId}`;
    await blocker`SELECT pg_advisory_unlock(5702418, hashtext(${saleId}))`;
    blocker.release();
    await untilOpen(saleId);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10, prefix: 'after' });
    await eventually(async () => assert.equal(await rows(saleId), 60));
    const [row] = await servers.sql`
      SELECT count(*)::int AS count FROM reservations WHERE buyer_id LIKE 'forgotten-%'`;
    assert.equal(row!.count, 0);
    await assertVerified(saleId);
    assert.equal(await slow.metric('dead_letters_total'), 0);
  });

  it('what another server decided on a timeline of its own is nobody’s', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'both' });
    await usePersister(test, redis.url, database.url).then((one) =>
      eventually(async () => assert.equal(await rows(saleId), 30)).then(() => one.close()),
    );
    // Recovered elsewhere meanwhile, and this server, cut off, went on selling.
    await servers.sql`UPDATE sales SET timeline = timeline + 1, fence = 'another-server' WHERE sale_id = ${saleId}`;
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'alone' });
    await readAndAbandon(servers.shards, saleId, 1);
    await usePersister(test, redis.url, database.url);
    await eventually(async () => {
      assert.deepEqual((await recoveries(saleId)).at(-1), {
        actor: 'persister',
        outcome: 'rebuilt',
        cause: 'redis_forgot_decisions',
      });
    });
    await untilOpen(saleId);
    assert.equal(await rows(saleId), 30);
    assert.equal((await reservationsOf(saleId, 'alone-1')).length, 0);
    await assertVerified(saleId);
  });

  it('a recovery that PostgreSQL kept waiting begins no timeline over that of another', async (test) => {
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10, prefix: 'before' });
    await eventually(async () => assert.equal(await rows(saleId), 30));
    const { client } = servers.shards.of(saleId);
    const waiting = async () => {
      const [row] = await servers.sql`
        SELECT count(*)::int AS count FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE sales SET timeline%'`;
      return row!.count as number;
    };

    const other = await servers.sql.reserve();
    await other`BEGIN`;
    await other`SELECT FROM sales WHERE sale_id = ${saleId} FOR UPDATE`;
    await client.flushall();
    await eventually(async () => assert.equal(await waiting(), 1));
    // Its locks die with their connection; it can't know.
    await servers.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND state = 'idle in transaction' AND application_name = 'flash-sale-persister'`;
    // Another recovers the sale meanwhile, and it sells.
    const operation = await definitionOf(saleId);
    await servers.shards.call(applyOperation, saleId, { operation: 1, timeline: 0, ...operation });
    await other`UPDATE sales SET timeline = timeline + 1, fence = 'a server that is gone' WHERE sale_id = ${saleId}`;
    const closing = 'of-the-other';
    await servers.shards.call(closeSale, saleId, { closing, timeline: 0, begunAfter: '' });
    const renewal = { timeline: 1, closing, events: 0, operation: 1, positionFloor: 0 };
    assert.equal(await servers.shards.call(renewFence, saleId, renewal), 'renewed');
    await client.hset(saleKey(saleId, 'sale'), 'events', 30, 'drained', 30, 'position', 1_000);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 5, prefix: 'after' });
    await other`COMMIT`;
    other.release();
    await eventually(async () => assert.equal(await rows(saleId), 50));
    const [row] = await servers.sql`SELECT timeline FROM sales WHERE sale_id = ${saleId}`;
    assert.equal(row!.timeline, 1);
  });

  it('a recovery that was frozen puts no older sale in the place of a newer one', async () => {
    const { saleId, definition, changes } = await makeSale(servers).then(async (sale) => ({
      saleId: sale.saleId,
      ...(await definitionOf(sale.saleId)),
    }));
    const empty = { records: [], holds: [], line: [] };
    const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
    await call(closeSale, saleId, { closing: 'first', timeline: 0, begunAfter: '' });
    assert.equal(
      await call(stageRebuild, saleId, { timeline: 1, part: 1, portion: empty }),
      'staged',
    );
    // Meanwhile another opens it, it sells, and a third closes it again.
    await call(closeSale, saleId, { closing: 'second', timeline: 0, begunAfter: '' });
    const renewal = { timeline: 2, closing: 'second', events: 0, operation: 1, positionFloor: 0 };
    assert.equal(await call(renewFence, saleId, renewal), 'renewed');
    assert.deepEqual(await staged(saleId), [], 'nothing is left of it');
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await call(closeSale, saleId, { closing: 'third', timeline: 2, begunAfter: '' });
    const sale = saleAsMade(definition, changes);
    const finished = await call(finishRebuild, saleId, {
      timeline: 1,
      closing: 'third',
      parts: 1,
      sale,
    });
    assert.equal(finished, 'superseded');
    assert.equal((await saleState(servers.shards, saleId)).position, 10);
  });

  for (const word of ['open', 'superseded'] as const) {
    it(`what was staged goes where there is a newer sale (${word})`, async () => {
      const { saleId } = await makeSale(servers);
      const operation = await definitionOf(saleId);
      const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
      const portion = { records: ['ada', '1\tR\t1'], holds: ['1', '1-1'], line: ['a', 'b'] };
      await servers.shards.of(saleId).client.flushall();
      assert.equal(await call(stageRebuild, saleId, { timeline: 3, part: 1, portion }), 'staged');
      assert.equal((await staged(saleId)).length, 6);
      // Made again under the same id, as admin does with a draft.
      await call(applyOperation, saleId, { operation: 1, timeline: 5, ...operation });
      await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
      const closing = 'another';
      if (word === 'superseded') {
        await call(closeSale, saleId, { closing, timeline: 5, begunAfter: '' });
      }
      const sale = saleAsMade(operation.definition, operation.changes);
      const rebuilt = { timeline: 3, closing, parts: 1, sale };
      assert.equal(await call(finishRebuild, saleId, rebuilt), word);
      assert.equal((await saleState(servers.shards, saleId)).position, 10);
      const late = { timeline: 3, part: 1, portion };
      assert.equal(await call(stageRebuild, saleId, late), 'superseded');
      assert.deepEqual(await staged(saleId), []);
    });
  }

  it('on a full server: it stays closed and says why, until there is memory', async (test) => {
    const { saleId } = await makeSale(servers);
    // One try, until it is asked for another.
    const one = await usePersister(test, redis.url, database.url, { restMs: 60_000 });
    await buyMany(servers.shards, saleId, { count: 5_000, batchSize: 100 });
    await eventually(async () => assert.equal(await rows(saleId), 5_000));
    const before = await reservationsOf(saleId, 'buyer-4000');
    const { client } = servers.shards.of(saleId);
    const used = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]);
    await client.config('SET', 'maxmemory', used + 100_000);
    // As a server that was promoted without the tail.
    await client.hset(saleKey(saleId, 'sale'), 'events', 4_900, 'fence', '');
    await servers.sql`
      INSERT INTO sale_recoveries (sale_id, actor, request_id, state) VALUES (${saleId}, 'operator', 'r-1', 'requested')`;
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 1));
    const reports = () => servers.sql`
      SELECT outcome, report->>'why' AS why FROM sale_recoveries WHERE sale_id = ${saleId} ORDER BY recovery_id`;
    await eventually(async () => {
      const told = (await reports()).map(({ why }) => String(why));
      assert.match(told.join(), /Redis is full.*maxmemory/);
    });
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'recovering');
    assert.deepEqual(await staged(saleId), ['rebuild'], 'only whose it was');

    await client.config('SET', 'maxmemory', '0');
    await servers.shards.publishChanged(saleId);
    await untilOpen(saleId);
    await eventually(async () => {
      const outcomes = (await reports()).map(({ outcome }) => outcome as string);
      assert.deepEqual(outcomes, ['blocked', 'rebuilt'], 'each told once');
    });
    assert.deepEqual(await reservationsOf(saleId, 'buyer-4000'), before);
    assert.deepEqual(await staged(saleId), []);
    await assertVerified(saleId);
  });

  it('waits for what a recovery whose locks have died is still writing', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 5 });
    await buyMany(servers.shards, saleId, { count: 5, batchSize: 5, prefix: 'early' });
    await redis.restart();
    const other = await servers.sql.reserve();
    await other`BEGIN`;
    await other`LOCK TABLE reservations IN SHARE MODE`;
    await usePersister(test, redis.url, database.url);
    const sessions = (state: string) =>
      servers.sql`
        SELECT pid FROM pg_stat_activity WHERE datname = current_database()
          AND application_name = 'flash-sale-persister' AND ${
            state === 'writing'
              ? servers.sql`wait_event_type = 'Lock' AND query LIKE '%INSERT INTO reservations%'`
              : servers.sql`state = 'idle in transaction'`
          }`;
    await eventually(async () => assert.equal((await sessions('writing')).length, 1));
    for (const { pid } of await sessions('locking')) {
      await servers.sql`SELECT pg_terminate_backend(${pid as number})`;
    }
    // Our own connection may still be on its way back.
    await eventually(() => servers.shards.of(saleId).client.flushall());
    await sleep(1_500);
    const reply = await servers.shards.call(readSale, saleId);
    assert.equal(reply.outcome, 'unknown_sale', 'it stays closed');
    await other`COMMIT`;
    other.release();
    await untilOpen(saleId);
    const { stock } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.remaining, stock[0]?.held, await rows(saleId)], [0, 5, 5]);
    await assertVerified(saleId);
  });

  it('at an operator’s word, though nothing was lost', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 50 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    await eventually(async () => assert.equal(await rows(saleId), 20));
    // Somebody's hand in Redis: verify would be red.
    await servers.shards.of(saleId).client.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 7);
    await servers.sql`
      INSERT INTO sale_recoveries (sale_id, actor, request_id, state) VALUES (${saleId}, 'operator', 'r-1', 'requested')`;
    await eventually(async () => {
      assert.deepEqual(await recoveries(saleId), [
        { actor: 'operator', outcome: 'rebuilt', cause: 'requested' },
      ]);
    });
    await untilOpen(saleId);
    const { stock, position } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.remaining, position], [30, 20], 'no position is left out');
    await assertVerified(saleId);
  });

  it('by two persisters at once, and though one dies at it', async (test) => {
    const { saleId } = await makeSale(servers);
    const persisters = [
      await usePersister(test, redis.url, database.url),
      await usePersister(test, redis.url, database.url),
    ];
    await buyMany(servers.shards, saleId, { count: 3_000, batchSize: 100 });
    await eventually(async () => assert.equal(await rows(saleId), 3_000));
    for (let round = 0; round < 3; round++) {
      await servers.shards.of(saleId).client.flushall();
      if (round === 1) {
        // Its connections die in the middle of whatever it is at.
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
      await untilOpen(saleId);
      await buyMany(servers.shards, saleId, { count: 10, batchSize: 5, prefix: `round-${round}` });
      await eventually(async () => assert.equal(await rows(saleId), 3_010 + 10 * round));
    }
    await assertVerified(saleId);
    const counts = await Promise.all(
      persisters.map((one) => one.metric('recovery_duration_seconds_count')),
    );
    assert.ok(counts[0]! + counts[1]! >= 3);
  });
});
