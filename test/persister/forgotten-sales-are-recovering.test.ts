/**
 * When a recovery finds that Redis has lost a sale, it leaves a mark in Redis. Until the sale is rebuilt, requests get
 * `recovering` instead of `sale_not_found`, also from a hot path that starts only then. No script treats the mark as a
 * sale.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { addDeadLetter } from '../../harness/sales/recovery.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type SaleOperation } from '../../src/lua/operate/apply-operation.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { closeSale } from '../../src/lua/recover/close-sale.ts';
import { renewFence } from '../../src/lua/recover/renew-fence.ts';
import { trimEvents } from '../../src/lua/stream/trim-events.ts';
import { verifySale } from '../../src/verify/verify.ts';

describe('a sale that Redis has lost', () => {
  it('is recovering for a hot path that starts afterwards, which sells it once it is rebuilt', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 10 });
    const one = await usePersister(test, redis.url, database.url);
    const [bought] = await buy(servers.shards, saleId, ['ada']);
    assert.ok(bought?.outcome === 'reserved');
    const [, , position, tag] = bought.record.split('\t');
    const reservation = `/v1/reservations/${saleId}_${position}_${tag}`;
    await untilRows(servers, saleId, 1);
    // The rebuild waits until the dead letter is resolved.
    await addDeadLetter(servers, saleId);
    await servers.shards.of(saleId).client.flushall();
    await eventually(async () => assert.equal(await one.metric('sales_not_recovered'), 1));

    const fresh = await useHotPath(test, redis.url);
    const waitlist = `/v1/sales/${saleId}/waitlist`;
    const requests = {
      buy: () => fresh.buy(saleId, 'bob'),
      'buy with a body': () => fresh.buy(saleId, 'bob', { body: { sku: 'unit', quantity: 1 } }),
      sale: () => fresh.call(`/v1/sales/${saleId}`),
      me: () => fresh.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' }),
      reservation: () => fresh.call(reservation, { buyer: 'ada' }),
      'give back': () => fresh.call(`${reservation}/cancel`, { method: 'POST', buyer: 'ada' }),
      join: () => fresh.call(waitlist, { method: 'POST', buyer: 'bob' }),
      leave: () => fresh.call(waitlist, { method: 'DELETE', buyer: 'bob' }),
    };
    for (const [what, send] of Object.entries(requests)) {
      const { status, body, headers } = await send();
      assert.deepEqual([what, status, body.code], [what, 503, 'recovering']);
      assert.ok(Number(headers['retry-after']) > 0, what);
    }
    // Once Redis has at least the mark of every sale, one that it does not have does not exist.
    await eventually(async () => {
      assert.equal((await fresh.buy('no-such-sale', 'bob')).status, 404);
    });

    await servers.sql`UPDATE dead_letters SET resolved_at = now()`;
    await eventually(async () => assert.equal((await fresh.buy(saleId, 'bob')).status, 201));
    const { status, body } = await fresh.call(reservation, { buyer: 'ada' });
    assert.deepEqual([status, body.status], [200, 'reserved']);
    const { client } = servers.shards.of(saleId);
    assert.equal(await client.hexists(saleKey(saleId, 'sale'), 'forgotten'), 0);
  });

  it('is not a sale for any script that finds the mark', async (test) => {
    const { servers } = await useServers(test);
    const { saleId } = await makeSale(servers);
    const { client } = servers.shards.of(saleId);
    const [row] = await servers.sql<Pick<SaleOperation, 'definition' | 'changes'>[]>`
      SELECT definition, changes FROM sale_operations WHERE sale_id = ${saleId}`;
    await client.flushall();
    const call: typeof servers.shards.call = (...args) => servers.shards.call(...args);
    const absent = { outcome: 'unknown_sale', isForgotten: true, isArchived: false };

    for (const closing of ['first', 'second']) {
      const closed = await call(closeSale, saleId, { closing, timeline: 0, begunAfter: '' });
      assert.equal(closed, 'forgotten');
      assert.deepEqual(await call(readSale, saleId), absent);
    }
    assert.equal((await buy(servers.shards, saleId, ['ada']))[0]?.outcome, 'recovering');
    assert.equal((await call(sweep, saleId, { most: 10, tag: 'tagtagta' })).outcome, 'recovering');
    assert.equal((await call(trimEvents, saleId)).outcome, 'recovering');
    const renewal = { timeline: 9, closing: 'second', events: 0, operation: 0, positionFloor: 0 };
    assert.equal(await call(renewFence, saleId, renewal), 'unknown_sale');
    const later = { ...row!, operation: 2, timeline: 0 };
    assert.equal((await call(applyOperation, saleId, later)).outcome, 'unknown_sale');
    const report = await verifySale(servers, saleId);
    assert.deepEqual([report.ok, report.checks[0]?.ok], [false, false]);
    const keys = await client.keys('*');
    assert.deepEqual(keys, [saleKey(saleId, 'sale')], 'no script wrote anything');

    // A sale that is created with this id is open; the mark has no effect on it.
    const first = { ...row!, operation: 1, timeline: 0 };
    assert.equal((await call(applyOperation, saleId, first)).outcome, 'applied');
    assert.equal((await call(readSale, saleId)).outcome, 'known');
    assert.equal((await buy(servers.shards, saleId, ['ada']))[0]?.outcome, 'reserved');
  });
});
