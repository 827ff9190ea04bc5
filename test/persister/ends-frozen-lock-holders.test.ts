/**
 * A process that is frozen in the middle of a statement, or behind a dead connection, lets go of a sale: PostgreSQL by
 * itself would wait for the rest of the statement for ever.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { endSilentHolders, lockHistory, tryLockSale } from '../../src/postgres/sale-locks.ts';

test('a session that holds a sale and says nothing in mid-statement is ended, another one is not', async (t) => {
  const database = await useDatabase(t);
  const frozen = connectPostgres(database.url, { name: 'flash-sale-frozen', connectionsMax: 1 });
  const busy = connectPostgres(database.url, { name: 'flash-sale-busy', connectionsMax: 1 });
  const other = connectPostgres(database.url, { name: 'flash-sale-other', connectionsMax: 2 });
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
