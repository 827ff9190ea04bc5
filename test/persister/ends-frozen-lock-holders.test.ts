/**
 * A process that is frozen while it holds a sale's lock loses it. PostgreSQL by itself would wait for the rest of a
 * statement without a limit.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { TOKENS } from '../../harness/engine/admin.ts';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { endSilentHolders, lockHistory, tryLockSale } from '../../src/postgres/sale-locks.ts';

test('a session that holds a sale and says nothing in mid-statement is ended, another one is not', async (t) => {
  const database = await useDatabase(t);
  const frozen = connectPostgres(database.url, { process: 'frozen', connectionsMax: 1 });
  const busy = connectPostgres(database.url, { process: 'busy', connectionsMax: 1 });
  const other = connectPostgres(database.url, { process: 'other', connectionsMax: 2 });
  try {
    const isFree = (saleId: string) =>
      other.begin((transaction) => tryLockSale(transaction, saleId));
    const held = Promise.withResolvers<void>();
    const frozenEnds = frozen.begin(async (transaction) => {
      await lockHistory(transaction, 'frozen');
      // PostgreSQL waits for rows that do not come.
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

    assert.equal(await endSilentHolders(other, 60_000), 0, 'not silent for so long');
    assert.equal(await isFree('frozen'), false);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await endSilentHolders(other, 200), 1);
    await ended;
    assert.equal(await isFree('frozen'), true);
    assert.equal(await isFree('busy'), false, 'who works is left alone');
    over.resolve();
    await busyEnds;
  } finally {
    await Promise.all([frozen, busy, other].map((sql) => sql.end({ timeout: 2 })));
  }
});

test('an admin that is frozen in the middle of an operation is ended, and another one finishes it', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const { saleId } = await makeSale(servers, { stock: 10 });
  const spawnAdmin = async () => {
    const admin = await useEngineProcess(t, 'admin', {
      REDIS_URL: redis.url,
      DATABASE_URL: database.url,
      ADMIN_TOKENS: `operator:${TOKENS.operator}`,
    });
    return admin.untilReady();
  };
  const load = ({ url }: EngineProcess) =>
    fetch(`${url}/admin/v1/sales/${saleId}/stock`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${TOKENS.operator}`,
        'content-type': 'application/json',
        'idempotency-key': 'load-1',
      },
      body: JSON.stringify({ sku: 'unit', delta: 5 }),
    });
  const isFree = () => servers.sql.begin((transaction) => tryLockSale(transaction, saleId));

  const frozen = await spawnAdmin();
  redis.pause();
  const lost = load(frozen).catch(() => undefined);
  await eventually(async () => assert.equal(await isFree(), false, 'the operation holds the lock'));
  freeze(frozen.pid);
  redis.resume();
  await sleep(300);
  assert.equal(await isFree(), false, 'nothing else releases it');

  assert.equal(await endSilentHolders(servers.sql, 200), 1);
  assert.equal(await isFree(), true);
  const other = await spawnAdmin();
  await eventually(async () => assert.equal((await load(other)).status, 200));
  assert.equal((await saleState(servers.shards, saleId)).stock[0]?.loaded, 15);
  thaw(frozen.pid);
  await lost;
  assert.equal((await saleState(servers.shards, saleId)).stock[0]?.loaded, 15);
});
