/** Prices are in minor units of an active currency, and every response has the exact total, up to the largest basket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { callAdmin, makeDraft, newSale, useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { useWebhookPersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useReceiver } from '../../harness/network/webhook-receiver.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { subscribe } from '../../harness/sales/webhooks.ts';
import { FILE } from '../../harness/use.ts';
import { MINOR_UNIT_DIGITS } from '../../src/domain/currency.ts';
import { PRICE_MAX } from '../../src/domain/identifiers.ts';

const admin = await useAdmin(FILE);

test('an active currency is accepted, a withdrawn one and one without minor units are refused', async () => {
  const create = (currency: string) => admin.call('POST /sales', { body: newSale({ currency }) });
  for (const currency of ['EUR', 'JPY', 'KWD', 'CLF', 'IDR', 'LBP', 'SLE', 'XCG', 'ZWG']) {
    assert.equal((await create(currency)).status, 201, currency);
  }
  for (const currency of [
    'HRK',
    'BGN',
    'ANG',
    'SLL',
    'ZWL',
    'DEM',
    'XAU',
    'XXX',
    'XTS',
    'eur',
    '',
  ]) {
    const { status, body } = await create(currency);
    assert.deepEqual([status, body.errors?.[0].field], [422, 'currency'], currency);
  }
});

test('each currency has the minor units of ISO 4217', () => {
  assert.equal(MINOR_UNIT_DIGITS.size, 165);
  assert.deepEqual(
    ['EUR', 'JPY', 'KWD', 'CLF', 'IDR', 'LBP'].map((code) => MINOR_UNIT_DIGITS.get(code)),
    [2, 0, 3, 4, 2, 2],
  );
  for (const [code, digits] of MINOR_UNIT_DIGITS) {
    assert.match(code, /^[A-Z]{3}$/);
    assert.ok(digits >= 0 && digits <= 4, code);
  }
});

test('totals up to 10^15 minor units are exact in every response, export, message and check', async (t) => {
  const hotPath = await useHotPath(t, admin.redis.url);
  await useWebhookPersister(t, { ...admin, redisUrl: admin.redis.url });
  const receiver = await useReceiver(t);
  const prices = Array.from({ length: 10 }, (_, index) => PRICE_MAX - 63 * index - (index && 1));
  const saleId = await makeDraft(admin, {
    currency: 'IDR',
    perBuyerLimit: 1_000,
    skus: prices.map((price, index) => ({ sku: `s${index}`, price, stock: 100 })),
  });
  await subscribe(admin.sql, receiver.url, { events: ['reservation.reserved'], saleId });
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  const watcher = await useWatcher(t, hotPath, saleId, { buyer: 'ada' });
  const total = prices.reduce((sum, price) => sum + 100n * BigInt(price), 0n);
  assert.ok(total > 999_999_999_000_000n);

  const exact = ({ items, total: shown }: { items: { unitPrice: number }[]; total: number }) => {
    assert.deepEqual(
      items.map(({ unitPrice }) => unitPrice),
      prices,
    );
    assert.equal(BigInt(shown), total);
    return true;
  };
  const items = prices.map((_, index) => ({ sku: `s${index}`, quantity: 100 }));
  const bought = await hotPath.buy(saleId, 'ada', { body: { items }, key: 'k' });
  assert.equal(bought.status, 201, JSON.stringify(bought.body));
  exact(bought.body);
  exact((await hotPath.buy(saleId, 'ada', { body: { items }, key: 'k' })).body);
  const { reservationId } = bought.body;
  const mine = async () =>
    exact((await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' })).body.reservations[0]);
  await mine();
  exact((await hotPath.call(`/v1/reservations/${reservationId}`, { buyer: 'ada' })).body);
  exact((await watcher.receives('reservation', () => true)).reservation);
  const view = await hotPath.call(`/v1/sales/${saleId}`);
  assert.deepEqual(
    view.body.skus.map(({ price }: { price: number }) => price),
    prices,
  );

  exact((await admin.call(`GET /reservations/${reservationId}`)).body);
  await untilRows(admin, saleId, 1);
  exact((await admin.call(`GET /reservations?saleId=${saleId}`)).body.data[0]);
  const { body: csv } = await callAdmin(admin.app, `GET /reservations.csv?saleId=${saleId}`);
  assert.ok(csv.includes(`,${total},`), csv);
  await eventually(() =>
    assert.ok(exact(receiver.received[0]?.message?.data.reservation as never)),
  );
  const [row] =
    await admin.sql`SELECT total::text AS total FROM reservations WHERE sale_id = ${saleId}`;
  assert.equal(row!.total, String(total));
  await assertPromisesHold(admin, saleId);

  await admin.shards.of(saleId).client.flushall();
  await untilOpen(admin, saleId);
  await eventually(mine);
  const confirmed = await admin.call(`POST /reservations/${reservationId}/confirm`, { body: {} });
  assert.equal(confirmed.status, 200, JSON.stringify(confirmed.body));
  exact(confirmed.body);
  await assertPromisesHold(admin, saleId);
});
