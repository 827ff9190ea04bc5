/**
 * What only Redis has is restored to PostgreSQL before anything is dropped: after an older backup of PostgreSQL was
 * restored, and after a part of the sale in Redis was lost.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDraft, newSale, type TestAdmin, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, hold, holdMany } from '../../harness/sales/purchases.ts';
import {
  recoveriesOf,
  requestRecovery,
  untilBlocked,
  untilOpen,
  untilScriptsRan,
} from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  rowCount,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale, setStatus } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import { backUp } from '../../harness/servers/postgres-backup.ts';
import { saleKey } from '../../src/lua/keys.ts';

async function untilDrained(servers: Connections, saleId: string): Promise<void> {
  await eventually(async () => {
    const { events, drained } = await saleState(servers.shards, saleId);
    assert.equal(drained, events);
  });
}

for (const restart of [false, true]) {
  describe(`an older backup of PostgreSQL, ${restart ? 'and Redis restarted since' : 'Redis never restarted'}`, () => {
    it('gets from Redis what it lacks, and the sales go on', async (test) => {
      const { redis, database, servers } = await useServers(test);
      const { saleId } = await makeSale(servers, { stock: 100 });
      const other = await makeSale(servers, { stock: 100 });
      const first = await usePersister(test, redis.url, database.url);
      const before = await holdMany(servers.shards, saleId, { count: 20, batchSize: 5 });
      await untilDrained(servers, saleId);
      const restoreBackup = await backUp(servers.sql);
      if (restart) {
        await redis.restart();
        await eventually(() => assert.ok(servers.shards.isReady));
        await untilOpen(servers, saleId);
      }
      const buyers = Array.from({ length: 20 }, (_, index) => `late-${index}`);
      const late = await hold(servers.shards, saleId, buyers);
      await hold(servers.shards, other.saleId, ['ada', 'bob']);
      await applyTransition(servers.shards, before[0]!, 'confirm');
      await applyTransition(servers.shards, before[1]!, 'give-back');
      await applyTransition(servers.shards, late[0]!, 'extend');
      await applyTransition(servers.shards, late[0]!, 'confirm');
      await applyTransition(servers.shards, late[1]!, 'cancel');
      await untilDrained(servers, saleId);
      await untilDrained(servers, other.saleId);
      await first.close();
      await restoreBackup();
      assert.equal(await rowCount(servers, saleId), 20);
      assert.equal(await rowCount(servers, other.saleId), 0);

      // Some events are still in the stream.
      await hold(servers.shards, saleId, ['meanwhile']);
      await usePersister(test, redis.url, database.url);
      await untilRows(servers, saleId, 41);
      await untilRows(servers, other.saleId, 2);
      await untilOpen(servers, saleId);
      await untilOpen(servers, other.saleId);
      // The restored sale may be checked, and closed, once more.
      await eventually(async () => {
        const [bought] = await buy(servers.shards, saleId, ['after']);
        assert.equal(bought?.outcome, 'reserved');
      });
      await assertPromisesHold(servers, saleId);
      await assertPromisesHold(servers, other.saleId);
      await requestRecovery(servers, saleId);
      await eventually(async () => {
        const last = (await recoveriesOf(servers, saleId)).at(-1);
        assert.deepEqual([last?.actor, last?.outcome], ['operator', 'rebuilt']);
      });
      assert.equal(await rowCount(servers, saleId), 42);
      await assertPromisesHold(servers, saleId);
    });
  });
}

it('a sale that has ended, and that nobody looks at, gets back what an older backup lacks within seconds', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const sale = await makeSale(servers, { stock: 10, holdSeconds: 1 });
  const { saleId } = sale;
  await usePersister(test, redis.url, database.url);
  await hold(servers.shards, saleId, ['ada']);
  await untilRows(servers, saleId, 1);
  const restoreBackup = await backUp(servers.sql);
  // Older than what persisters take for a recent change.
  await servers.sql`UPDATE backup.sales SET updated_at = updated_at - interval '1 hour'`;
  const [held] = await hold(servers.shards, saleId, ['bob']);
  await applyTransition(servers.shards, held!, 'confirm');
  await setStatus(servers, sale, 'ended');
  // No deadline is left, so the persister would look at the sale again after minutes.
  await sleep(2_500);
  await untilDrained(servers, saleId);
  await restoreBackup();
  await eventually(async () => assert.equal(await rowCount(servers, saleId), 2), {
    timeoutMs: 20_000,
  });
  await untilOpen(servers, saleId);
  await assertPromisesHold(servers, saleId);
});

const UNIT = { skus: [{ sku: 'unit', price: 1_000, stock: 10 }] };

async function makeOpenSale(admin: TestAdmin): Promise<string> {
  const saleId = await makeDraft(admin, UNIT);
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  return saleId;
}

/** A persister pairs Redis and the database when it starts first, so the backup has the identity too. */
async function usePairedAdmin(test: TestContext) {
  const admin = await useAdmin(test);
  const persister = await usePersister(test, admin.redis.url, admin.databaseUrl);
  await eventually(async () => assert.deepEqual(await persister.missing(), []));
  await persister.close();
  return {
    admin,
    servers: admin as unknown as Connections,
    restoreBackup: await backUp(admin.sql),
  };
}

describe('a new sale with the id of one that only Redis has', () => {
  const restored = async (servers: Connections, saleId: string) => {
    await servers.sql`
      INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds)
      VALUES (${saleId}, 'restored', 'EUR', 'draft', 1, 300)`;
    await eventually(async () => {
      const rows = await servers.sql`
        UPDATE sales SET created_at = o.created_at FROM sale_operations o
        WHERE o.sale_id = sales.sale_id AND o.operation = 1 AND sales.sale_id = ${saleId} RETURNING 1`;
      assert.equal(rows.length, 1);
    });
    await untilOpen(servers, saleId);
    await assertPromisesHold(servers, saleId);
  };

  it('is refused, also before anybody has bought', async (test) => {
    const { admin, servers, restoreBackup } = await usePairedAdmin(test);
    const saleId = await makeOpenSale(admin);
    await restoreBackup();
    const body = newSale({ saleId });
    for (const buyer of ['ada', 'bob']) {
      const refused = await admin.call('POST /sales', { body });
      assert.deepEqual(
        [refused.status, refused.body.errors],
        [422, [{ field: 'saleId', message: 'must not be the id of another sale' }]],
      );
      await hold(servers.shards, saleId, [buyer]);
    }
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await restored(servers, saleId);
    assert.equal(await rowCount(servers, saleId), 2);
  });

  it('that was created without Redis waits, changes nothing, and can be deleted', async (test) => {
    const { admin, servers, restoreBackup } = await usePairedAdmin(test);
    const saleId = await makeOpenSale(admin);
    await hold(servers.shards, saleId, ['ada']);
    await restoreBackup();
    await admin.redis.kill();
    await eventually(() => assert.ok(!servers.shards.isReady));
    assert.equal((await admin.call('POST /sales', { body: newSale({ saleId }) })).status, 503);
    assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 503);
    await admin.redis.start();
    await eventually(() => assert.ok(servers.shards.isReady));
    // As a recovery would do, if a persister knew the sale: it restarted, so it must be opened again to sell.
    const { client, runId } = servers.shards.of(saleId);
    await client.hset(saleKey(saleId, 'sale'), 'fence', runId!);
    const persister = await usePersister(test, admin.redis.url, admin.databaseUrl);
    await untilBlocked(servers, saleId, /another sale with this id/);
    assert.equal(await persister.metric('sales_not_recovered'), 1);
    await hold(servers.shards, saleId, ['bob']);
    await untilScriptsRan(servers, saleId, 10);
    assert.equal((await recoveriesOf(servers, saleId)).length, 1, 'reported once');
    assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 204);
    await eventually(async () => assert.equal(await persister.metric('sales_not_recovered'), 0));
    await hold(servers.shards, saleId, ['cyd']);
    await restored(servers, saleId);
    await untilRows(servers, saleId, 3);
  });
});

for (const buyers of [[], ['ada']]) {
  it(`a sale that an older backup has as a draft gets back its opening and ${buyers.length} purchases`, async (test) => {
    const admin = await useAdmin(test);
    const servers = admin as unknown as Connections;
    const saleId = await makeDraft(admin, UNIT);
    const restoreBackup = await backUp(servers.sql);
    assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
    await hold(servers.shards, saleId, buyers);
    await restoreBackup();
    const { status, body } = await admin.call(`DELETE /sales/${saleId}`);
    assert.deepEqual([status, body.code], [503, 'recovering']);
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await untilRows(servers, saleId, buyers.length);
    await untilOpen(servers, saleId);
    await eventually(async () =>
      assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 409),
    );
    await assertPromisesHold(servers, saleId);
  });
}

it('a refused change that only Redis has is restored as a refused one', async (test) => {
  const { admin, servers } = await usePairedAdmin(test);
  const saleId = await makeOpenSale(admin);
  const restoreBackup = await backUp(servers.sql);
  const withdrawal = { body: { sku: 'unit', delta: -11 } };
  assert.equal((await admin.call(`POST /sales/${saleId}/stock`, withdrawal)).status, 409);
  await restoreBackup();
  await usePersister(test, admin.redis.url, admin.databaseUrl);
  await eventually(async () => {
    const rows = await servers.sql<{ outcome: string }[]>`
      SELECT outcome FROM sale_operations WHERE sale_id = ${saleId} ORDER BY operation`;
    assert.deepEqual(
      rows.map(({ outcome }) => outcome),
      ['applied', 'applied', 'insufficient_stock'],
    );
  });
  await untilOpen(servers, saleId);
  await assertPromisesHold(servers, saleId);
});

it('a withdrawal that is pending in the backup, and that Redis refused, is restored as refused', async (test) => {
  const { admin, servers } = await usePairedAdmin(test);
  const saleId = await makeOpenSale(admin);
  const change = (delta: number) =>
    admin.call(`POST /sales/${saleId}/stock`, { body: { sku: 'unit', delta } });
  assert.equal((await change(-11)).status, 409);
  const restoreBackup = await backUp(servers.sql);
  await servers.sql`UPDATE backup.stock_ledger SET outcome = 'pending' WHERE operation = 3`;
  await servers.sql`
    UPDATE backup.sale_operations SET outcome = 'pending', applied_at = NULL WHERE operation = 3`;
  await servers.sql`DELETE FROM backup.audit_log WHERE action = 'insufficient_stock'`;
  assert.equal((await change(5)).status, 200);
  assert.equal((await change(-2)).status, 200);
  await restoreBackup();
  await usePersister(test, admin.redis.url, admin.databaseUrl);
  await eventually(async () => {
    const rows = await servers.sql<{ outcome: string; delta: number | null }[]>`
      SELECT outcome, (changes->0->>'delta')::integer AS delta FROM sale_operations
      WHERE sale_id = ${saleId} ORDER BY operation`;
    assert.deepEqual(
      rows.map(({ outcome, delta }) => [outcome, delta]),
      [
        ['applied', 10],
        ['applied', null],
        ['insufficient_stock', -11],
        ['applied', 3],
        ['applied', null],
      ],
    );
  });
  await untilOpen(servers, saleId);
  await assertPromisesHold(servers, saleId);
});

it('operations, withdrawn units, cancelled parts and payments that only Redis has are restored, so the books agree', async (test) => {
  const admin = await useAdmin(test);
  const servers = admin as unknown as Connections;
  const sale = await makeSale(servers, { stock: 12, perBuyerLimit: 5 });
  const { saleId } = sale;
  const first = await usePersister(test, admin.redis.url, admin.databaseUrl);
  const held = await hold(servers.shards, saleId, ['ada', 'bob', 'cyd', 'dan', 'gus', 'hal']);
  const several = await hold(servers.shards, saleId, ['eve', 'fay'], 'unit*3');
  const [eve, fay] = several.map(({ reservationId }) => reservationId);
  const one = { items: [{ sku: 'unit', quantity: 1 }] };
  const [ada, bob, cyd, dan, gus, hal] = held.map(({ reservationId }) => reservationId);
  const request = async (path: string, body: unknown) => {
    const response = await admin.call(`POST ${path}`, { body });
    assert.equal(response.status, 200, JSON.stringify(response.body));
  };
  await untilDrained(servers, saleId);
  const restoreBackup = await backUp(servers.sql);
  await setStatus(servers, { ...sale, waitlistHoldSeconds: 600 }, 'open');
  for (const delta of [5, 7, -3]) {
    await request(`/sales/${saleId}/stock`, { sku: 'unit', delta });
  }
  await request(`/reservations/${ada}/cancel`, { restock: false });
  await request(`/reservations/${bob}/confirm`, { paymentRef: 'pay_1' });
  await request(`/reservations/${dan}/confirm`, { paymentRef: 'pay_2' });
  await request(`/reservations/${dan}/cancel`, { restock: false });
  await request(`/reservations/${eve}/cancel`, { ...one, restock: false });
  await request(`/reservations/${eve}/confirm`, { paymentRef: 'pay_4' });
  await request(`/reservations/${fay}/cancel`, { ...one, restock: false });
  await request(`/reservations/${fay}/cancel`, { items: [{ sku: 'unit', quantity: 2 }] });
  // Two versions each, of which the records have the last one.
  await request(`/reservations/${hal}/extend`, {});
  for (const id of [gus, hal]) await request(`/reservations/${id}/confirm`, {});
  await request(`/reservations/${gus}/confirm`, { paymentRef: 'pay_5' });
  await untilDrained(servers, saleId);
  await first.close();
  await restoreBackup();
  // Still in the stream.
  await request(`/reservations/${cyd}/cancel`, { restock: false });
  await request(`/reservations/${eve}/cancel`, one);
  await usePersister(test, admin.redis.url, admin.databaseUrl, { lookMs: 500 });
  await requestRecovery(servers, saleId);
  await eventually(async () => {
    assert.equal((await recoveriesOf(servers, saleId)).at(-1)?.outcome, 'rebuilt');
  });
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.loaded, 21 - 5);
  await assertPromisesHold(servers, saleId);
  // What a record does not say gets the time of the restore.
  const [old] = await servers.sql<{ count: number }[]>`
    SELECT count(*)::integer AS count FROM reservation_history
    WHERE sale_id = ${saleId} AND occurred_at < now() - interval '1 hour'`;
  assert.equal(old!.count, 0);
  const next = await admin.call(`POST /sales/${saleId}/stock`, { body: { sku: 'unit', delta: 1 } });
  assert.deepEqual([next.status, next.body.loaded], [200, 22 - 5]);
  assert.equal((await admin.call(`GET /sales/${saleId}`)).body.waitlistHoldSeconds, 600);
  const path = `POST /reservations/${bob}/confirm`;
  const second = await admin.call(path, { body: { paymentRef: 'pay_3' } });
  assert.deepEqual([second.status, second.body.paymentRef], [409, 'pay_1']);
  for (const [id, body] of [
    [eve, one],
    [eve, { ...one, restock: false }],
    [fay, { items: [{ sku: 'unit', quantity: 2 }] }],
  ] as const) {
    const again = await admin.call(`POST /reservations/${id}/cancel`, { body });
    assert.equal(again.headers['idempotent-replayed'], 'true');
  }

  // Without a later event, and without another persister.
  const restoreAgain = await backUp(servers.sql);
  await request(`/reservations/${gus}/cancel`, {});
  await untilDrained(servers, saleId);
  await restoreAgain();
  await eventually(() => assertPromisesHold(servers, saleId), { timeoutMs: 60_000 });
});

it('a reservation that neither server has is reported by position before it is dropped', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const { saleId } = await makeSale(servers, { stock: 10 });
  const first = await usePersister(test, redis.url, database.url);
  await hold(servers.shards, saleId, ['ada', 'bob']);
  await untilDrained(servers, saleId);
  const restoreBackup = await backUp(servers.sql);
  await hold(servers.shards, saleId, ['cleo', 'dan']);
  await untilDrained(servers, saleId);
  await first.close();
  await restoreBackup();
  await servers.shards.of(saleId).client.hdel(saleKey(saleId, 'buyers'), 'cleo');
  await usePersister(test, redis.url, database.url);
  await untilBlocked(servers, saleId, /no server has a record of positions 3,/);
  await untilRows(servers, saleId, 3);
  await requestRecovery(servers, saleId);
  await eventually(async () => {
    assert.equal((await recoveriesOf(servers, saleId)).at(-1)?.outcome, 'rebuilt');
  });
  assert.equal(await rowCount(servers, saleId), 3);
});

it('a sale whose definition and stream were deleted is rebuilt from its records', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const { saleId } = await makeSale(servers, { stock: 10 });
  await hold(servers.shards, saleId, ['ada', 'bob', 'cleo']);
  const { client } = servers.shards.of(saleId);
  await client.del(saleKey(saleId, 'sale'), saleKey(saleId, 'events'));
  await usePersister(test, redis.url, database.url);
  await untilRows(servers, saleId, 3);
  await untilOpen(servers, saleId);
  await assertPromisesHold(servers, saleId);
});
