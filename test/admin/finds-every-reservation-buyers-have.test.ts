/** Operators find every reservation that a buyer was notified of, whichever server has it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, stateInRedis, useAdmin, useApp } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { saleKey } from '../../src/lua/keys.ts';

const admin = await useAdmin(FILE);

async function reserveIn({ saleId }: SaleDefinition, buyerId: string): Promise<string> {
  const [reservation] = await hold(admin.shards, saleId, [buyerId]);
  return reservation!.reservationId;
}

type Shown = Record<'version' | 'event' | 'status' | 'paymentRef', unknown>;
const historyIn = (body: { history: Shown[] }) =>
  body.history.map(({ version, event, status, paymentRef }) => [
    version,
    event,
    status,
    paymentRef,
  ]);

test('a reservation is found before PostgreSQL has it, with its history, and stays the same afterwards', async (t) => {
  const sale = await makeSale(admin, { stock: 200, holdSeconds: 600 });
  // Several stream entries, so that the search reads more than one part.
  const ids: string[] = [];
  for (let count = 0; count < 30; count += 1) ids.push(await reserveIn(sale, `buyer-${count}`));
  const id = ids[0]!;
  const confirm = `POST /reservations/${id}/confirm`;
  assert.equal((await admin.call(`POST /reservations/${id}/extend`)).status, 200);
  assert.equal((await admin.call(confirm, { body: { paymentRef: 'pay_1' } })).status, 200);
  const early = await admin.call(`GET /reservations/${id}`);
  assert.equal(early.status, 200, JSON.stringify(early.body));
  assert.deepEqual(
    [early.body.status, early.body.version, early.body.buyerId],
    ['confirmed', 3, 'buyer-0'],
  );
  assert.deepEqual(historyIn(early.body), [
    [1, 1, 'reserved', null],
    [2, 31, 'reserved', null],
    [3, 32, 'confirmed', 'pay_1'],
  ]);
  for (const each of ids) assert.equal((await admin.call(`GET /reservations/${each}`)).status, 200);

  await usePersister(t, admin.redis.url, admin.databaseUrl);
  await eventually(async () => {
    const [row] = await admin.sql`SELECT FROM reservations WHERE reservation_id = ${id}`;
    assert.ok(row);
  });
  assert.deepEqual((await admin.call(`GET /reservations/${id}`)).body, early.body);
});

test('a transition that PostgreSQL does not have yet is shown', async (t) => {
  const sale = await makeSale(admin, { stock: 10 });
  const id = await reserveIn(sale, 'ada');
  const persister = await usePersister(t, admin.redis.url, admin.databaseUrl);
  await eventually(async () => {
    const [row] = await admin.sql`SELECT FROM reservations WHERE reservation_id = ${id}`;
    assert.ok(row);
  });
  await persister.close();
  await admin.call(`POST /reservations/${id}/cancel`, { body: { reason: 'paid twice' } });
  const { body } = await admin.call(`GET /reservations/${id}`);
  assert.deepEqual([body.status, body.history.at(-1).reason], ['cancelled', 'paid twice']);
});

test('an event that PostgreSQL set aside as a dead letter does not hide its reservation', async (t) => {
  await usePersister(t, admin.redis.url, admin.databaseUrl);
  const sale = await makeSale(admin, { stock: 10 });
  await admin.sql.unsafe(
    `ALTER TABLE reservations ADD CONSTRAINT refused CHECK (sale_id <> '${sale.saleId}') NOT VALID`,
  );
  t.after(() => admin.sql`ALTER TABLE reservations DROP CONSTRAINT IF EXISTS refused`);
  const id = await reserveIn(sale, 'ada');
  await eventually(async () => {
    const letters = await admin.sql`SELECT FROM dead_letters WHERE sale_id = ${sale.saleId}`;
    assert.equal(letters.length, 1);
    assert.equal((await stateInRedis(admin, sale.saleId)).drained, 1);
  });
  const { status, body } = await admin.call(`GET /reservations/${id}`);
  assert.deepEqual([status, body.reservationId, body.history], [200, id, []]);
});

test('without Redis, what PostgreSQL lacks is unknown, not absent', async (t) => {
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port: admin.redis.port });
  const redisUrl = `redis://127.0.0.1:${proxy.port}`;
  const app = await useApp(t, await useConnections(t, redisUrl, admin.databaseUrl));
  const sale = await makeSale(admin, { stock: 10 });
  const id = await reserveIn(sale, 'ada');
  const { client } = admin.shards.of(sale.saleId);
  await client.hset(saleKey(sale.saleId, 'sale'), 'fence', 'of-another-server');
  const recovering = await callAdmin(app, `GET /reservations/${id}`, { as: 'viewer' });
  assert.deepEqual([recovering.status, recovering.body.code], [503, 'recovering']);
  await proxy.close();
  const away = await callAdmin(app, `GET /reservations/${id}`, { as: 'viewer' });
  assert.deepEqual([away.status, away.body.code], [503, 'unavailable']);
  assert.ok(Number(away.headers['retry-after']) > 0);
  // No server can have a reservation of a sale that was never created.
  const unknown = await callAdmin(app, 'GET /reservations/nowhere_1_aaaaaaaa', { as: 'viewer' });
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'reservation_not_found']);
});

test('an id that no server has is not found', async () => {
  const sale = await makeSale(admin, { stock: 10 });
  const id = await reserveIn(sale, 'ada');
  for (const each of [`${id.slice(0, -8)}AAAAAAAA`, `${sale.saleId}_999_aaaaaaaa`, 'x']) {
    const { status, body } = await admin.call(`GET /reservations/${each}`);
    assert.deepEqual([status, body.code], [404, 'reservation_not_found'], each);
  }
});
