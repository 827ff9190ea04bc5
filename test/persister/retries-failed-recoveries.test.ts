/**
 * A failed recovery leaves out no positions, a slow one keeps its locks, and one requested during another runs after
 * it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import {
  requestRecovery,
  untilOpen,
  untilPersisterConnected,
  untilScriptsRan,
} from '../../harness/sales/recovery.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendEntry, entryIds, saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import { untilSleeping, untilWaitingForLock } from '../../harness/servers/postgres-faults.ts';
import { parseEvent } from '../../src/domain/reservation-codec.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';
import { finishRebuild } from '../../src/lua/recover/finish-rebuild.ts';
import { renewFence } from '../../src/lua/recover/renew-fence.ts';
import { stageRebuild } from '../../src/lua/recover/stage-rebuild.ts';
import { writeBatch } from '../../src/persister/write/write-batch.ts';
import { lockOperations } from '../../src/postgres/sale-locks.ts';

const SKIPPED = 5_000_000;

async function stored({ sql }: Pick<Connections, 'sql'>, saleId: string) {
  const [row] = await sql<{ timeline: number; positionFloor: number; closing: string }[]>`
    SELECT timeline, position_floor, closing FROM sales WHERE sale_id = ${saleId}`;
  return row!;
}

describe('a recovery', () => {
  it('that fails leaves out no position, and the one that opens the sale does so once', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 10 });
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await untilRows(servers, saleId, 10);
    const { client } = servers.shards.of(saleId);
    const add = (units: number) => servers.sql`
      UPDATE stock_ledger SET delta = delta + ${units} WHERE sale_id = ${saleId}`;
    const limit = (bytes: number) => client.config('SET', 'maxmemory', bytes);
    // The first is found after everything was read, the second when the last part is staged.
    const troubles = [
      { begin: () => add(-1), end: () => add(1) },
      { begin: () => limit(1), end: () => limit(0) },
    ];
    let last = 10;
    for (const trouble of troubles) {
      const before = await stored(servers, saleId);
      await trouble.begin();
      await client.flushall();
      await eventually(async () => {
        assert.ok(
          (await stored(servers, saleId)).timeline >= before.timeline + 3,
          'several attempts',
        );
      });
      assert.equal((await stored(servers, saleId)).positionFloor, before.positionFloor);
      await trouble.end();
      await untilOpen(servers, saleId);
      last += SKIPPED;
      assert.equal((await stored(servers, saleId)).positionFloor, last);
      assert.equal((await saleState(servers.shards, saleId)).position, last);
    }
  });

  it('whose timeline arrives after the next one closed the sale leaves out no position', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    const before = await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 10);
    await before.close();
    const close = (closing: string) =>
      servers.shards.call(closeSale, saleId, { closing, timeline: 0, begunAfter: '' });
    await close('first');
    await close('second');
    // The first one's link was cut while its query was under way.
    await servers.sql`UPDATE sales SET timeline = 1, closing = 'first' WHERE sale_id = ${saleId}`;
    await usePersister(test, redis.url, database.url);
    await untilOpen(servers, saleId);
    // The sale opens a moment before its recovery is recorded.
    await eventually(async () => {
      const reports = await servers.sql`
        SELECT outcome, report->'positionsSkipped' AS skipped FROM sale_recoveries WHERE sale_id = ${saleId}`;
      assert.deepEqual(
        reports.map((row) => ({ ...row })),
        [{ outcome: 'renewed', skipped: 0 }],
      );
    });
    // An id from before the sale opened says nothing about a later closing.
    const { client } = servers.shards.of(saleId);
    assert.equal(await client.hexists(saleKey(saleId, 'sale'), 'closings'), 0);
  });

  it('that an operator requests during another one runs after it', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    await untilRows(servers, saleId, 20);

    const other = await servers.sql.reserve();
    await other`BEGIN`;
    await other`SELECT FROM sales WHERE sale_id = ${saleId} FOR UPDATE`;
    await redis.restart();
    await untilWaitingForLock(servers, 'UPDATE sales SET timeline');
    await requestRecovery(servers, saleId);
    await other`COMMIT`;
    other.release();

    await eventually(async () => {
      const done = await servers.sql`
        SELECT actor, outcome, report->>'cause' AS cause FROM sale_recoveries
        WHERE sale_id = ${saleId} ORDER BY finished_at`;
      assert.deepEqual(
        done.map((row) => ({ ...row })),
        [
          { actor: 'persister', outcome: 'renewed', cause: 'redis_restarted' },
          { actor: 'operator', outcome: 'rebuilt', cause: 'requested' },
        ],
      );
    });
    await untilOpen(servers, saleId);
  });

  it('that was postponed reports why', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 5, batchSize: 5 });
    await untilRows(servers, saleId, 5);
    await servers.sql.begin(async (transaction) => {
      await lockOperations(transaction, saleId);
      await redis.restart();
      await untilPersisterConnected(servers);
      // Several attempts run at least eight scripts.
      await untilScriptsRan(servers, saleId, 8);
      const closed = await servers.sql`SELECT FROM sale_recoveries WHERE sale_id = ${saleId}`;
      assert.equal(closed.length, 0, 'it waits for the lock');
    });
    await untilOpen(servers, saleId);
    await eventually(async () => {
      const [row] = await servers.sql`
        SELECT outcome, report->>'postponedBy' AS postponed_by FROM sale_recoveries WHERE sale_id = ${saleId}`;
      assert.deepEqual({ ...row }, { outcome: 'renewed', postponedBy: 'lock_held' });
    });
  });

  it('that lost its locks does not open the sale below the events in PostgreSQL', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 30, batchSize: 10 });
    const first = await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 30);
    await first.close();
    await servers.sql.unsafe(`
      CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE state = 'idle in transaction' AND application_name = 'flash-sale-persister'
          AND datname = current_database();
        PERFORM pg_sleep(3);
        RETURN NEW; END $$;
      CREATE TRIGGER die BEFORE UPDATE ON sales FOR EACH ROW
        WHEN (OLD.timeline = 0 AND NEW.timeline = 1) EXECUTE FUNCTION die()`);
    await redis.restart();
    await usePersister(test, redis.url, database.url);
    // The trigger runs when the recovery begins its timeline.
    await untilSleeping(servers);
    // A frozen process resumes with an event that Redis has lost, and gets the released lock.
    const nowMs = Date.now();
    const times = `${nowMs}\t${nowMs + 300_000}`;
    const line = `1\tR\t31\tabcdefgh\tunit*1\t1000\t${times}\t\tthawed\t${nowMs}\t\tr\t`;
    const event = {
      entryId: `${nowMs}-0`,
      number: 31,
      line: () => line,
      reservation: parseEvent(line, { saleId, currency: 'EUR' }),
    };
    const guard = { lock: 'take', timeline: 0, isCurrent: () => true } as const;
    assert.equal(await writeBatch(servers.sql, saleId, [event], guard, 'copy'), 'written');
    await untilOpen(servers, saleId);
    const { events, position } = await saleState(servers.shards, saleId);
    assert.deepEqual([events, position], [31, 31 + SKIPPED]);
  });

  it('keeps an entry that only a newer version can read, also at the end of the stream', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    await untilRows(servers, saleId, 20);
    const newer = await appendEntry(servers.shards, saleId, { v: '9', x: 'of the future' });
    await requestRecovery(servers, saleId);
    const finished = () => servers.sql<{ outcome: string; why: string | null }[]>`
      SELECT outcome, report->>'why' AS why FROM sale_recoveries
      WHERE sale_id = ${saleId} AND state = 'done' ORDER BY finished_at`;
    // The requested rebuild is impossible, so the sale continues as it is.
    await eventually(async () => {
      const [first, next] = await finished();
      assert.match(
        first?.why ?? '',
        /entries that cannot be written: of a version .*run that version/,
      );
      assert.deepEqual([first?.outcome, next?.outcome], ['blocked', 'renewed']);
    });
    await untilOpen(servers, saleId);
    assert.equal((await saleState(servers.shards, saleId)).events, 21);
    assert.deepEqual(await entryIds(servers.shards, saleId), [newer]);
  });

  it('opens only a sale that it has closed itself', async (test) => {
    const { servers } = await useServers(test);
    const { saleId, ...definition } = await makeSale(servers);
    const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
    const close = (closing: string) =>
      call(closeSale, saleId, { closing, timeline: 0, begunAfter: '' });
    const renew = (closing: string) =>
      call(renewFence, saleId, { timeline: 1, closing, events: 0, operation: 1, positionFloor: 0 });
    const rebuild = async (closing: string) => {
      const portion = { records: [], holds: [], line: [], notes: [] };
      await call(stageRebuild, saleId, { timeline: 1, part: 1, portion });
      const counts = { loaded: 9, remaining: 9, held: 0, confirmed: 0, waiting: 0 };
      const stock = [{ sku: 'unit', price: 1_000, ...counts }];
      const counters = { operation: 1, position: 0, events: 0, tickets: 0, time: 0 };
      const sale = { definition: { saleId, ...definition }, stock, gaps: '', ...counters };
      const rebuilt = { timeline: 1, closing, parts: 1 };
      return call(finishRebuild, saleId, {
        ...rebuilt,
        sale: { ...sale, operationOutcome: 'applied' },
      });
    };
    assert.deepEqual([await renew('mine'), await rebuild('mine')], ['superseded', 'open']);
    for (const closing of ['mine', 'of another']) assert.equal(await close(closing), 'closed');
    assert.deepEqual([await renew('mine'), await rebuild('mine')], ['superseded', 'superseded']);

    await servers.shards.of(saleId).client.flushall();
    assert.equal(await rebuild('mine'), 'superseded', 'also when Redis has lost the sale');
    for (const closing of ['mine', 'of another']) assert.equal(await close(closing), 'forgotten');
    assert.equal(await rebuild('mine'), 'superseded');
    assert.equal(await rebuild('of another'), 'finished');
    assert.equal((await saleState(servers.shards, saleId)).closing, '');
  });

  it('of a server that may have lost decisions leaves out their positions', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await usePersister(test, redis.url, database.url, {}, { DURABILITY: 'fast' });
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    await untilRows(servers, saleId, 20);
    /** How often positions were left out: once per attempt that may have opened the sale. */
    const leftOut = (position: number, after: number) => (position - after) / SKIPPED;
    let last = 20;
    for (const round of [1, 2]) {
      await redis.restart();
      await untilOpen(servers, saleId);
      const [reply] = await buy(servers.shards, saleId, [`after-${round}`]);
      assert.ok(reply?.outcome === 'reserved');
      const position = Number(reply.record.split('\t')[2]);
      assert.ok(Number.isInteger(leftOut(position - 1, last)) && position > last + SKIPPED);
      last = position;
      await untilRows(servers, saleId, 20 + round);
    }
    // Positions stay left out, though no server knows of a later one.
    await redis.restart();
    await untilOpen(servers, saleId);
    const { positionFloor } = await stored(servers, saleId);
    assert.ok(positionFloor >= last + SKIPPED);
    await servers.shards.of(saleId).client.flushall();
    await untilOpen(servers, saleId);
    const { position } = await saleState(servers.shards, saleId);
    assert.ok(leftOut(position, positionFloor) >= 1, `${position} after ${positionFloor}`);
  });

  it('gives no position twice when one call gave more than BACKLOG_MAX', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    const bought = await buyMany(servers.shards, saleId, { count: 128, batchSize: 128 });
    await servers.shards.of(saleId).client.flushall();
    await usePersister(test, redis.url, database.url, {}, { BACKLOG_MAX: '10' });
    await untilOpen(servers, saleId);
    const [reply] = await buy(servers.shards, saleId, ['next']);
    assert.ok(reply?.outcome === 'reserved');
    assert.ok(Number(reply.record.split('\t')[2]) > bought.length);
  });

  it('keeps its locks however long it writes the events of Redis', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    await servers.sql.unsafe(`
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(1); RETURN NEW; END';
      CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON checkpoints EXECUTE FUNCTION slow()`);
    await buyMany(servers.shards, saleId, { count: 600, batchSize: 1 });
    await redis.restart();
    // Six writes take longer than a session may be idle.
    await usePersister(test, redis.url, `${database.url}?idle_in_transaction_session_timeout=4000`);
    const closing = await eventually(async () => {
      const name = await servers.shards.of(saleId).client.hget(saleKey(saleId, 'sale'), 'closing');
      return name ?? assert.fail('not closed yet');
    });
    await untilOpen(servers, saleId);
    assert.equal((await stored(servers, saleId)).closing, closing, 'the first recovery succeeded');
    await untilRows(servers, saleId, 600);
  });
});
