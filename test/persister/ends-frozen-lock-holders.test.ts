/**
 * A process that is frozen in the middle of a statement, or whose connection is dead, keeps its lock on a sale:
 * PostgreSQL waits without limit for the rest of the statement. So the engine ends such sessions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOKENS } from '../../harness/engine/admin.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { use } from '../../harness/use.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { endSilentHolders, lockHistory, tryLockSale } from '../../src/postgres/sale-locks.ts';

test('a session that holds a lock and sends nothing during a statement is ended, a working one is not', async (t) => {
  const database = await useDatabase(t);
  const usePool = (name: string, connectionsMax: number) =>
    use(
      t,
      () => connectPostgres(database.url, { process: name, connectionsMax }),
      (sql) => sql.end({ timeout: 2 }),
    );
  const frozen = await usePool('frozen', 1);
  const busy = await usePool('busy', 1);
  const other = await usePool('other', 2);
  const isFree = (saleId: string) => other.begin((transaction) => tryLockSale(transaction, saleId));
  const held = Promise.withResolvers<void>();
  const frozenEnds = frozen.begin(async (transaction) => {
    await lockHistory(transaction, 'frozen');
    // PostgreSQL waits for rows that the client never sends.
    const rows = await transaction`COPY sales (sale_id) FROM STDIN`.writable();
    rows.on('error', () => undefined);
    held.resolve();
    await new Promise((resolve) => rows.once('close', resolve));
  });
  const ended = assert.rejects(frozenEnds);
  const over = Promise.withResolvers<void>();
  const busyEnds = busy.begin(async (transaction) => {
    await lockHistory(transaction, 'busy');
    await Promise.all([transaction`SELECT pg_sleep(1)`, over.promise]);
  });
  await held.promise;

  assert.equal(await endSilentHolders(other, 60_000), 0, 'it was active within the limit');
  assert.equal(await isFree('frozen'), false);
  await eventually(async () => assert.equal(await endSilentHolders(other, 200), 1));
  await ended;
  assert.equal(await isFree('frozen'), true);
  assert.equal(await isFree('busy'), false, 'a working session keeps its lock');
  over.resolve();
  await busyEnds;
});

test('an admin that is frozen in the middle of an operation is ended, and another one finishes it', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const { sql, shards } = servers;
  const { saleId } = await makeSale(servers, { stock: 10 });
  const spawnAdmin = async () => {
    const admin = await useEngineProcess(t, 'admin', {
      REDIS_URL: redis.url,
      DATABASE_URL: database.url,
      ADMIN_TOKENS: `operator:${TOKENS.operator}`,
    });
    return admin.untilReady();
  };
  const isFree = () => sql.begin((transaction) => tryLockSale(transaction, saleId));
  await sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
    SELECT sale_id, 2, 'test', definition, '[{"sku": "unit", "delta": 5}]', 'pending', actor, request_id
    FROM sale_operations WHERE sale_id = ${saleId}`;
  const [isLocked, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holding = sql.begin(async (transaction) => {
    await transaction`SELECT FROM sale_operations WHERE sale_id = ${saleId} FOR UPDATE`;
    isLocked.resolve();
    await over.promise;
  });
  await isLocked.promise;

  // It applies the operation in Redis, and then waits for the operation's row.
  const frozen = await spawnAdmin();
  await eventually(async () => assert.equal(await isFree(), false, 'the operation holds the lock'));
  freeze(frozen.pid);
  over.resolve();
  await holding;
  assert.equal(await isFree(), false, 'nothing else releases it');

  await eventually(async () => assert.equal(await endSilentHolders(sql, 200), 1));
  // PostgreSQL ends a session soon after it was told to.
  await eventually(async () => assert.equal(await isFree(), true));
  await spawnAdmin();
  await eventually(async () => {
    const [row] = await sql`
      SELECT outcome FROM sale_operations WHERE sale_id = ${saleId} AND operation = 2`;
    assert.equal(row!.outcome, 'applied');
  });
  thaw(frozen.pid);
  assert.equal((await saleState(shards, saleId)).stock[0]?.loaded, 15);
});
