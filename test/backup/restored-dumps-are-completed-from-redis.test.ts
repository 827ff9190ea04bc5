/**
 * PostgreSQL is restored from a dump that is older than Redis, by the commands of docs/OPERATIONS.md. Buyers go on buying
 * meanwhile, and nothing that they were told is lost.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type RetryingCrowd, useRetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { type TestAdmin, useAdmin } from '../../harness/engine/admin.ts';
import { runEngineCommand } from '../../harness/engine/engine-command.ts';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { recoveriesOf, untilOpen } from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  rowCount,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useConnections, useServers } from '../../harness/servers/connections.ts';
import { useEmptyDatabase } from '../../harness/servers/postgres.ts';
import { useDump } from '../../harness/servers/postgres-dump.ts';

async function untilMoreAreSold({ sold }: RetryingCrowd): Promise<void> {
  const before = sold.size;
  await eventually(() => assert.ok(sold.size > before + 100));
}

/** No buyer comes any more, and each of them has one row, in Redis and in PostgreSQL. */
async function assertNothingIsLost(
  servers: Connections,
  saleId: string,
  crowd: RetryingCrowd,
  hotPath: TestHotPath,
): Promise<void> {
  await crowd.stop();
  await crowd.assertSameResponses(hotPath);
  await untilRows(servers, saleId, crowd.sold.size);
  await untilOpen(servers, saleId);
  await assertPromisesHold(servers, saleId);
}

/** A sale with buyers, and a dump of its database from the middle of it. */
async function useSaleWithDump(t: TestContext) {
  const { redis, database, servers } = await useServers(t);
  const hotPath = await useHotPath(t, redis.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const persister = await usePersister(t, redis.url, database.url);
  const crowd = await useRetryingCrowd(t, [hotPath], saleId, { lanes: 3 });
  await untilMoreAreSold(crowd);
  const dump = await useDump(t, database.url);
  await untilMoreAreSold(crowd);
  await eventually(async () => assert.ok((await rowCount(servers, saleId)) > 100));
  return { redis, database, servers, hotPath, saleId, persister, crowd, dump };
}

test('a dump is restored into its own database while buyers go on buying', async (t) => {
  const { redis, database, servers, hotPath, saleId, persister, crowd, dump } =
    await useSaleWithDump(t);
  const soldBefore = crowd.sold.size;
  await persister.close();
  await dump.restoreInPlace(database.url);
  await runEngineCommand(['migrate'], { DATABASE_URL: database.url, REDIS_URL: redis.url });
  const restored = await useConnections(t, redis.url, database.url);
  assert.ok((await rowCount(restored, saleId)) < soldBefore);
  await untilMoreAreSold(crowd);
  await usePersister(t, redis.url, database.url);
  await assertNothingIsLost(servers, saleId, crowd, hotPath);
  const causes = (await recoveriesOf(restored, saleId)).map(({ cause }) => cause);
  assert.ok(causes.length > 0, causes.join());
});

test('a dump is restored into another database, which is adopted, while buyers go on buying', async (t) => {
  const { redis, servers, hotPath, saleId, persister, crowd, dump } = await useSaleWithDump(t);
  await persister.close();
  await servers.sql.end();
  const other = await useEmptyDatabase(t);
  await dump.restoreElsewhere(other.url);
  const printed = await runEngineCommand(['migrate', '--adopt'], {
    DATABASE_URL: other.url,
    REDIS_URL: redis.url,
    DURABILITY: 'fast',
  });
  assert.match(printed, /the database is up to date.*this database belongs to Redis now/s);
  await untilMoreAreSold(crowd);
  const restored = await useConnections(t, redis.url, other.url);
  await usePersister(t, redis.url, other.url);
  await assertNothingIsLost(restored, saleId, crowd, hotPath);
});

/** As docs/OPERATIONS.md tells operators to add a sale that the dump does not have. */
function addRow({ sql }: Pick<TestAdmin, 'sql'>, saleId: string) {
  return sql`
    INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds)
    VALUES (${saleId}, 'restored', 'EUR', 'draft', 1, 300)`;
}

/** Afterwards: the sale is as old as its first change. */
function correctTime({ sql }: Pick<TestAdmin, 'sql'>, saleId: string) {
  return sql`
    UPDATE sales SET created_at = o.created_at FROM sale_operations o
    WHERE o.sale_id = sales.sale_id AND o.operation = 1 AND sales.sale_id = ${saleId}`;
}

test('a sale that began after the dump is completed once an operator has added its row', async (t) => {
  const admin = await useAdmin(t);
  const servers = admin as unknown as Connections;
  const first = await usePersister(t, admin.redis.url, admin.databaseUrl);
  const dump = await useDump(t, admin.databaseUrl);
  const skus = [{ sku: 'unit', name: 'A unit', price: 1_000, stock: 10 }];
  const body = { saleId: 'younger', name: 'Younger', currency: 'EUR', skus };
  assert.equal((await admin.call('POST /sales', { body })).status, 201);
  assert.equal((await admin.call('POST /sales/younger/open')).status, 200);
  const load = { body: { sku: 'unit', delta: 5 }, headers: { 'idempotency-key': 'load-1' } };
  assert.equal((await admin.call('POST /sales/younger/stock', load)).status, 200);
  const [ada, bob, cyd] = await hold(servers.shards, 'younger', ['ada', 'bob', 'cyd']);
  await applyTransition(servers.shards, ada!, 'confirm');
  await applyTransition(servers.shards, bob!, 'give-back');
  await untilRows(servers, 'younger', 3);
  await eventually(async () => {
    const { events, drained } = await saleState(servers.shards, 'younger');
    assert.equal(drained, events);
  });
  await first.close();
  await dump.restoreInPlace(admin.databaseUrl);

  await usePersister(t, admin.redis.url, admin.databaseUrl);
  assert.equal((await admin.call('GET /sales/younger')).status, 404);
  // Redis sells on without PostgreSQL.
  await hold(servers.shards, 'younger', ['dan']);
  await addRow(admin, 'younger');
  await untilRows(servers, 'younger', 4);
  await untilOpen(servers, 'younger');
  await correctTime(admin, 'younger');
  await eventually(async () => {
    const { status, body: sale } = await admin.call('GET /sales/younger');
    assert.deepEqual([status, sale.name, sale.status], [200, 'Younger', 'open']);
    assert.deepEqual([sale.skus[0].loaded, sale.skus[0].confirmed, sale.skus[0].held], [15, 1, 2]);
  });
  await assertPromisesHold(servers, 'younger');
  const statuses = await servers.sql<{ buyerId: string; status: string }[]>`
    SELECT buyer_id, status FROM reservations WHERE sale_id = 'younger' ORDER BY position`;
  assert.deepEqual(
    statuses.map(({ buyerId, status }) => `${buyerId} ${status}`),
    ['ada confirmed', 'bob cancelled', 'cyd reserved', 'dan reserved'],
  );
  assert.equal(cyd!.position, 3);

  // The dump does not have the keys of later changes of stock: a repeated request is another change.
  const repeated = await admin.call('POST /sales/younger/stock', load);
  assert.deepEqual([repeated.status, repeated.body.loaded], [200, 20]);
});
