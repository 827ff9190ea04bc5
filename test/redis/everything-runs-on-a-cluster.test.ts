/**
 * Two sales on two masters of a cluster: live updates, the waitlist, refusals without Redis, the dashboard, the archive and
 * verification work there as on one server.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { callAdmin, newSale, TOKENS, useApp } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useEventStream } from '../../harness/network/event-stream.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { useCluster } from '../../harness/servers/redis-cluster.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

const cluster = await useCluster(FILE);
const database = await useDatabase(FILE);
const servers = await useConnections(FILE, cluster.url, database.url);
await usePersister(FILE, cluster.url, database.url);
const hotPath = await useHotPath(FILE, cluster.url);
const app = await useApp(FILE, servers);
const url = await app.listen({ host: '127.0.0.1', port: 0 });

const ownerOf = (saleId: string) => cluster.ownerOf(calculateSlot(saleKey(saleId, 'sale')));

/** An open sale on the master with this index. */
async function openSaleOn(owner: number): Promise<string> {
  let saleId = '';
  for (let i = 0; saleId === '' || ownerOf(saleId) !== owner; i++) saleId = `on-${owner}-${i}`;
  const body = newSale({ saleId, skus: [{ sku: 'phone', price: 19_900, stock: 2 }] });
  assert.equal((await callAdmin(app, 'POST /sales', { body })).status, 201);
  assert.equal((await callAdmin(app, `POST /sales/${saleId}/open`)).status, 200);
  return saleId;
}

test('everything of two sales works on their two masters', async (t) => {
  const saleIds = [await openSaleOn(0), await openSaleOn(1)];
  const stream = await useEventStream(t, `${url}/dashboard/live`, {
    authorization: `Bearer ${TOKENS.viewer}`,
  });
  for (const saleId of saleIds) {
    const buy = (buyer: string) => hotPath.buy(saleId, buyer);
    const won = await buy('ada');
    assert.deepEqual([won.status, (await buy('ben')).status], [201, 201]);
    assert.equal((await buy('cleo')).body.code, 'sold_out');

    const watcher = await useWatcher(t, hotPath, saleId, { buyer: 'cleo' });
    const joined = await hotPath.call(`/v1/sales/${saleId}/waitlist`, {
      method: 'POST',
      buyer: 'cleo',
    });
    assert.equal(joined.status, 201);
    const cancelled = await hotPath.call(`/v1/reservations/${won.body.reservationId}/cancel`, {
      method: 'POST',
      buyer: 'ada',
    });
    assert.equal(cancelled.status, 200);
    const given = await watcher.receives(
      'reservation',
      ({ reservation }) => reservation.status === 'reserved',
    );
    assert.equal(given.reservation.source, 'waitlist');
  }
  await eventually(() => {
    const shown = stream.events.flatMap(({ data }) => data.sales ?? []);
    for (const saleId of saleIds)
      assert.ok(shown.some((sale: { saleId: string }) => sale.saleId === saleId));
  });

  // One master stops: its sale is refused from memory, and the other sale goes on.
  const [first, second] = saleIds as [string, string];
  const localRefusals = () => hotPath.metric('flash_sale_local_sold_out_total');
  const before = await localRefusals();
  let strangers = 0;
  await eventually(async () => {
    assert.equal((await hotPath.buy(first, `stranger-${++strangers}`)).body.code, 'sold_out');
    assert.ok((await localRefusals()) > before);
  });
  await usePause(t, cluster.masters[0]!);
  assert.equal((await hotPath.buy(first, 'late')).body.code, 'sold_out');
  assert.equal((await hotPath.buy(second, 'late')).body.code, 'sold_out');
  cluster.masters[0]!.resume();

  for (const saleId of saleIds) {
    await eventually(async () => {
      const { body } = await callAdmin(app, `GET /sales/${saleId}/verify`);
      assert.equal(body.ok, true, JSON.stringify(body));
    });
    const { body: list } = await callAdmin(app, `GET /reservations?saleId=${saleId}`);
    for (const { status, reservationId } of list.data) {
      if (status !== 'reserved') continue;
      const confirmed = await callAdmin(app, `POST /reservations/${reservationId}/confirm`);
      assert.equal(confirmed.status, 200);
    }
    assert.equal((await callAdmin(app, `POST /sales/${saleId}/end`)).status, 200);
    await eventually(async () => {
      const archived = await callAdmin(app, `POST /sales/${saleId}/archive`);
      assert.equal(archived.status, 200, JSON.stringify(archived.body));
    });
    await eventually(async () => {
      assert.equal((await hotPath.buy(saleId, 'dora')).body.code, 'sale_ended');
    });
  }
});
