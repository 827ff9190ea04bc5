/** Buyers who wait for more units than are free keep them from nobody, and are served first once enough are free. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import {
  applyTransition,
  assertPromisesHold,
  reservationsOf,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const { redis, database, servers } = await useServers(FILE);
const hotPath = await useHotPath(FILE, redis.url);
await usePersister(FILE, redis.url, database.url);

it('free units go to the first waiting buyer who can take them, the rest to anybody', async () => {
  const { saleId } = await makeSale(servers, { stock: 10, perBuyerLimit: 5 });
  const paid = await hold(servers.shards, saleId, ['p1', 'p2', 'p3', 'p4', 'p5', 'p6']);
  for (const each of paid) {
    assert.equal((await applyTransition(servers.shards, each, 'confirm')).outcome, 'changed');
  }
  const unpaid = await hold(servers.shards, saleId, ['h1', 'h2', 'h3', 'h4']);
  assert.equal((await hotPath.buy(saleId, 'walk-in')).body.code, 'sold_out');
  const join = (buyer: string, quantity: number) =>
    hotPath.call(`/v1/sales/${saleId}/waitlist`, { method: 'POST', buyer, body: { quantity } });
  assert.equal((await join('five', 5)).body.place, 1);
  assert.equal((await join('one', 1)).body.place, 2);

  const unitsOf = async (buyer: string) => {
    const living = (await reservationsOf(servers.shards, saleId, buyer)).filter(
      ({ status }) => status === 'reserved',
    );
    return living.reduce((sum, { items }) => sum + items[0]!.quantity, 0);
  };
  // One unit goes to the buyer who waits for one; nobody who waits can take the other three.
  for (const { reservationId, buyerId } of unpaid) {
    await hotPath.call(`/v1/reservations/${reservationId}/cancel`, {
      method: 'POST',
      buyer: buyerId,
    });
  }
  assert.equal(await unitsOf('one'), 1);
  await eventually(async () => {
    const { body } = await hotPath.call(`/v1/sales/${saleId}`);
    assert.deepEqual([body.skus[0].remaining, body.skus[0].soldOut], [3, false]);
  });
  assert.equal((await hotPath.buy(saleId, 'walk-in')).status, 201);
  const tooMany = await hotPath.buy(saleId, 'other', { body: { sku: 'unit', quantity: 3 } });
  assert.equal(tooMany.body.code, 'insufficient_stock');
  assert.equal((await join('late', 2)).body.code, 'invalid_transition');

  const me = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'five' });
  assert.deepEqual(me.body.waitlist, [{ sku: 'unit', quantity: 5, place: 1 }]);
  for (const each of paid.slice(0, 3)) await applyTransition(servers.shards, each, 'cancel');
  assert.equal(await unitsOf('five'), 5);
  await assertPromisesHold(servers, saleId);
});
