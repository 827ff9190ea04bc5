import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { PRICE_MAX, parseReservationId } from '../../src/domain/identifiers.ts';
import { saleKey } from '../../src/lua/keys.ts';

/** The test skips positions in Redis, without the floor that a recovery stores. */
const SKIPPED_IN_REDIS_ALONE = ['both-servers-are-on-one-timeline'];

const { redis, database, servers } = await useServers(FILE);
await usePersister(FILE, redis.url, database.url, { restMs: 100 });
const hotPath = await useHotPath(FILE, redis.url);

/** A sale whose positions and tickets continue after `last`, as if a recovery had skipped all before. */
async function saleAfter(last: number, stock: number) {
  const { saleId } = await makeSale(servers, {
    stock,
    perBuyerLimit: 100,
    skus: [{ sku: 'unit', name: 'A unit', price: PRICE_MAX }],
  });
  const fields = { position: last, gaps: `0:${last} `, tickets: last };
  await servers.shards.of(saleId).client.hset(saleKey(saleId, 'sale'), fields);
  return saleId;
}

for (const last of [10 ** 12 - 2, 2 ** 53 - 2 ** 30 - 10]) {
  test(`a sale continues after position ${last}: purchases, waitlist, rows, rebuild and verify`, async () => {
    const saleId = await saleAfter(last, 102);
    const unit = (quantity: number) => ({ body: { sku: 'unit', quantity } });
    const ids: string[] = [];
    for (const [index, quantity] of [1, 1, 100].entries()) {
      const { status, body } = await hotPath.buy(saleId, `buyer-${index}`, unit(quantity));
      assert.equal(status, 201, JSON.stringify(body));
      assert.equal(body.position, last + 1 + index);
      assert.equal(parseReservationId(body.reservationId)!.position, last + 1 + index);
      assert.equal(body.total, quantity * PRICE_MAX);
      ids.push(body.reservationId);
    }
    // Tickets on both sides of the next power of ten are in the order of joining.
    for (const buyer of ['first', 'second', 'third']) {
      const path = `/v1/sales/${saleId}/waitlist`;
      const joined = await hotPath.call(path, { method: 'POST', buyer, body: {} });
      assert.equal(joined.status, 201, JSON.stringify(joined.body));
    }
    const own = { method: 'POST', buyer: 'buyer-0' };
    const shown = await hotPath.call(`/v1/reservations/${ids[0]}`, { buyer: 'buyer-0' });
    assert.equal(shown.body.position, last + 1);
    assert.equal((await hotPath.call(`/v1/reservations/${ids[0]}/cancel`, own)).status, 200);
    // By the release, or by the sweep if that has not yet indexed the waitlist.
    await eventually(async () => {
      const me = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'first' });
      assert.equal(me.body.reservations[0]?.position, last + 4);
    });

    await untilRows(servers, saleId, 4);
    await assertPromisesHold(servers, saleId, SKIPPED_IN_REDIS_ALONE);
    await servers.shards.of(saleId).client.flushall();
    await servers.shards.publishChanged(saleId);
    await untilOpen(servers, saleId);
    await eventually(async () => {
      const { status, body } = await hotPath.buy(saleId, 'buyer-1', unit(1));
      assert.deepEqual([status, body.position], [200, last + 2]);
    });
    await assertPromisesHold(servers, saleId);
  });
}

test('a sale that has used up its numbers has ended for buyers, and its reservations still change', async () => {
  const last = 2 ** 53 - 2 ** 30 - 1;
  const saleId = await saleAfter(last, 5);
  const bought = await hotPath.buy(saleId, 'ada');
  assert.deepEqual([bought.status, bought.body.position], [201, last + 1]);
  const refused = await hotPath.buy(saleId, 'bob');
  assert.deepEqual([refused.status, refused.body.code], [410, 'sale_ended']);
  const path = `/v1/reservations/${bought.body.reservationId}/cancel`;
  assert.equal((await hotPath.call(path, { method: 'POST', buyer: 'ada' })).status, 200);
});

test('an id beyond 2^53 is not found', async () => {
  for (const position of ['9007199254740992', '9999999999999999', '99999999999999999']) {
    const path = `/v1/reservations/some-sale_${position}_AbCdEfGh`;
    assert.equal((await hotPath.call(path, { buyer: 'ada' })).status, 404);
  }
});
