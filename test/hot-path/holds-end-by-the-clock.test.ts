/** A hold ends at its deadline although no persister runs: it is shown as expired, and its units can be bought. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const hotPath = await useHotPath(FILE, admin.redis.url);

/** One unit, which `ada` holds for a second by default. */
async function makeHeldSale(
  choices: { stock?: number; perBuyerLimit?: number; holdSeconds?: number; key?: string } = {},
) {
  const { stock = 1, perBuyerLimit = 1, holdSeconds = 1, key } = choices;
  const { saleId } = await makeSale(admin, { stock, perBuyerLimit, holdSeconds });
  const held = await hotPath.buy(saleId, 'ada', key === undefined ? {} : { key });
  assert.equal(held.status, 201);
  return { saleId, held: held.body };
}

async function untilExpired(reservationId: string): Promise<void> {
  await eventually(async () => {
    const { body } = await hotPath.call(`/v1/reservations/${reservationId}`, { buyer: 'ada' });
    assert.equal(body.status, 'expired');
  });
}

describe('after its deadline, without a persister,', () => {
  it('a hold is expired for its buyer, and somebody else can buy the unit', async () => {
    const { saleId, held } = await makeHeldSale();
    await untilExpired(held.reservationId);
    const me = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' });
    assert.deepEqual([me.body.reservations[0].status, me.body.remainingAllowance], ['expired', 1]);
    assert.equal((await hotPath.buy(saleId, 'bob')).status, 201);
    assert.equal((await hotPath.buy(saleId, 'eve')).body.code, 'sold_out');
    const [stock] = (await saleState(admin.shards, saleId)).stock;
    assert.deepEqual([stock!.remaining, stock!.held], [0, 1]);
  });

  it('buyers that the hot path refused without Redis can buy', async () => {
    const { saleId } = await makeHeldSale({ holdSeconds: 3 });
    const refusals = () => hotPath.metric('flash_sale_local_sold_out_total');
    const before = await refusals();
    await eventually(async () => {
      assert.equal((await hotPath.buy(saleId, 'bob')).body.code, 'sold_out');
      assert.ok((await refusals()) > before, 'refused without Redis');
    });
    await eventually(async () => assert.equal((await hotPath.buy(saleId, 'bob')).status, 201));
  });

  it('the unit is on sale in the view of the sale, although nobody buys', async () => {
    const { saleId } = await makeHeldSale();
    await eventually(async () => {
      const [sku] = (await hotPath.call(`/v1/sales/${saleId}`)).body.skus;
      assert.deepEqual([sku.remaining, sku.soldOut], [1, false]);
    });
  });

  it('the same basket is another purchase, and the same key shows the expired one', async () => {
    const first = await makeHeldSale();
    await untilExpired(first.held.reservationId);
    const again = await hotPath.buy(first.saleId, 'ada');
    assert.equal(again.status, 201);
    assert.notEqual(again.body.reservationId, first.held.reservationId);

    const keyed = await makeHeldSale({ key: 'k-1' });
    await untilExpired(keyed.held.reservationId);
    const replay = await hotPath.buy(keyed.saleId, 'ada', { key: 'k-1' });
    assert.deepEqual([replay.status, replay.body.status], [200, 'expired']);
    assert.equal(replay.body.reservationId, keyed.held.reservationId);
  });

  it('the limit of its buyer is free again', async () => {
    const { saleId, held } = await makeHeldSale({ stock: 5 });
    await untilExpired(held.reservationId);
    const other = await hotPath.buy(saleId, 'ada', { key: 'another' });
    assert.equal(other.status, 201);
  });

  it('the waitlist gets the unit before a buyer who asks for it', async () => {
    const { saleId, held } = await makeHeldSale({ holdSeconds: 3 });
    const joined = await hotPath.call(`/v1/sales/${saleId}/waitlist`, {
      method: 'POST',
      buyer: 'first-in-line',
    });
    assert.equal(joined.status, 201);
    await untilExpired(held.reservationId);
    assert.equal((await hotPath.buy(saleId, 'bob')).body.code, 'sold_out');
    const me = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'first-in-line' });
    assert.equal(me.body.reservations[0].status, 'reserved');
  });

  it('it can be neither confirmed, extended nor given back', async () => {
    for (const transition of ['confirm', 'extend']) {
      const { held } = await makeHeldSale();
      await untilExpired(held.reservationId);
      const path = `POST /reservations/${held.reservationId}/${transition}`;
      const { status, body } = await admin.call(path, { as: 'merchant' });
      assert.deepEqual([status, body.code, body.from], [409, 'invalid_transition', 'expired']);
    }
    const { held } = await makeHeldSale();
    await untilExpired(held.reservationId);
    const path = `/v1/reservations/${held.reservationId}/cancel`;
    const { status, body } = await hotPath.call(path, { method: 'POST', buyer: 'ada' });
    assert.deepEqual([status, body.from], [409, 'expired']);
  });
});
