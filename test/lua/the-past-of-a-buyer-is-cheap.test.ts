import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyTransition } from '../../harness/sales/reservations.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { newTag, parseReservationId } from '../../src/domain/identifiers.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { type ReserveOutcome, reserve } from '../../src/lua/buy/reserve.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';

const KEPT = 20;
const WINDOW_MS = 600_000;

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

async function buy(
  sale: TestSale,
  requests: { buyerId?: string; key?: string; items?: string }[],
): Promise<ReserveOutcome[]> {
  return shards.call(reserve, sale.saleId, {
    tag: newTag(),
    backlogMax: 1_000_000,
    requests: requests.map(({ buyerId = 'ada', key = '', items = 'phone*1' }) => ({
      buyerId,
      idempotencyKey: key,
      items,
      requestId: '',
      traceparent: '',
    })),
  });
}

async function buyOne(sale: TestSale, key: string) {
  const [outcome] = await buy(sale, [{ key }]);
  assert.equal(outcome!.outcome, 'reserved');
  if (!('record' in outcome!)) assert.fail();
  return parseRecord(outcome.record, { saleId: sale.saleId, currency: 'EUR' }, 'ada');
}

/** As if the buyer had waited between the holds: a cool-down never begins. */
async function makeOlder(sale: TestSale) {
  const { client } = shards.of(sale.saleId);
  const key = saleKey(sale.saleId, 'buyers');
  const index = (await client.hget(key, 'ada'))!;
  assert.equal(index[0], '#');
  const earlier = Date.now() - WINDOW_MS;
  await client.hset(
    key,
    'ada',
    index.replaceAll(/:1[0-9]{12}/g, `:${earlier}`).replace(/ 1[0-9]{12}\t/, ` ${earlier}\t`),
  );
}

async function loop(sale: TestSale, rounds: number, keyOf = (round: number) => `key-${round}`) {
  const ids: string[] = [];
  for (let round = 1; round <= rounds; round++) {
    const { reservationId, saleId } = await buyOne(sale, keyOf(round));
    ids.push(reservationId);
    await applyTransition(shards, { reservationId, saleId }, 'give-back');
    if (round % 10 === 0) await makeOlder(sale);
  }
  return ids;
}

test('buying and giving back 100 times leaves a field that is no longer than after 20 times', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  await loop(sale, KEPT, () => '');
  const after20 = await client.hstrlen(saleKey(sale.saleId, 'buyers'), 'ada');
  await loop(sale, 80, () => '');
  const after100 = await client.hstrlen(saleKey(sale.saleId, 'buyers'), 'ada');
  // Positions have one digit more, and the index the start of the cool-down.
  assert.ok(after100 <= after20 + KEPT + 13, `${after100} after ${after20} bytes`);
  assert.equal(await client.hlen(saleKey(sale.saleId, 'past')), 100);
  const reply = await shards.call(readBuyer, sale.saleId, 'ada');
  if (reply.outcome !== 'known') assert.fail();
  assert.deepEqual(
    reply.reservations.map(({ position }) => position),
    Array.from({ length: KEPT }, (_, index) => 81 + index),
  );
  assert.equal((await sale.state()).stock[0]!.remaining, 10);
});

test('a key whose reservation ended long ago still never buys twice, and leads to that reservation', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const ids = await loop(sale, 50);
  const replies = await buy(sale, [
    { key: 'key-1' },
    { key: 'key-50' },
    { key: 'key-2', items: 'phone*2' },
    { key: 'key-1', buyerId: 'bob' },
  ]);
  assert.deepEqual(
    replies.map(({ outcome }) => outcome),
    ['replayed', 'replayed', 'key_reused', 'reserved'],
  );
  const { position } = parseReservationId(ids[0]!)!;
  assert.match((replies[0] as { record: string }).record, new RegExp(`^2\tX\t${position}\t`));
});

test('a reservation that ended long ago is found by its id, by its buyer alone', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const [oldest] = await loop(sale, 30);
  const address = parseReservationId(oldest!)!;
  const reply = await shards.call(readBuyer, sale.saleId, 'ada', address.position);
  if (reply.outcome !== 'known') assert.fail();
  assert.ok(reply.reservations.some(({ reservationId }) => reservationId === oldest));
  const other = await shards.call(readBuyer, sale.saleId, 'bob', address.position);
  assert.deepEqual(other.outcome === 'known' && other.reservations, []);

  const request = { address, detail: '', requestId: '', traceparent: '', tag: newTag() };
  const confirmed = await shards.call(transition, sale.saleId, {
    ...request,
    transition: 'confirm',
  });
  assert.equal(confirmed.outcome, 'forbidden');
  const again = await shards.call(transition, sale.saleId, { ...request, transition: 'give-back' });
  assert.equal(again.outcome, 'repeated');
  const forged = { ...request, address: { ...address, tag: 'another1' } };
  const unknown = await shards.call(transition, sale.saleId, { ...forged, transition: 'confirm' });
  assert.equal(unknown.outcome, 'unknown_reservation');
});

test('what a purchase reads and writes of its buyer does not depend on what the buyer has', async () => {
  const sale = await openSale(
    shards,
    { phone: 100, ['s'.repeat(40)]: 100 },
    { perBuyerLimit: 100 },
  );
  const { client } = shards.of(sale.saleId);
  const key = saleKey(sale.saleId, 'buyers');
  await buy(
    sale,
    Array.from({ length: KEPT }, (_, index) => ({
      key: `${index}`.padEnd(64, 'k'),
      items: `phone*1,${'s'.repeat(40)}*1`,
    })),
  );
  assert.ok((await client.hstrlen(key, 'ada')) < 600);
  const replies = await buy(sale, [
    { key: '3'.padEnd(64, 'k'), items: `phone*1,${'s'.repeat(40)}*1` },
    { key: '4'.padEnd(64, 'k') },
    { key: 'another' },
  ]);
  assert.deepEqual(
    replies.map(({ outcome }) => outcome),
    ['replayed', 'key_reused', 'limit_reached'],
  );
  const reply = await shards.call(readBuyer, sale.saleId, 'ada');
  if (reply.outcome !== 'known') assert.fail();
  assert.deepEqual(
    reply.reservations.map(({ position }) => position),
    Array.from({ length: KEPT }, (_, index) => 1 + index),
  );
});

test('a request without a key repeats the living reservation of that basket without one, however many there are', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 100 });
  for (let round = 0; round < 6; round++) await buyOne(sale, `key-${round}`);
  const keyless = await buyOne(sale, '');
  await buyOne(sale, 'key-7');
  const again = await buy(sale, [{}, {}]);
  for (const each of again) {
    assert.equal(each.outcome, 'replayed');
    assert.match((each as { record: string }).record, new RegExp(`^1\tR\t${keyless.position}\t`));
  }
  await applyTransition(shards, keyless, 'give-back');
  const next = await buyOne(sale, '');
  assert.notEqual(next.position, keyless.position);
});

test('the limit of a SKU counts all that a buyer with many reservations has', async () => {
  const sale = await openSale(shards, { phone: 100, case: 100 }, { perBuyerLimit: 100 });
  const { client } = shards.of(sale.saleId);
  await client.hset(saleKey(sale.saleId, 'stock'), 'case:perBuyerLimit', 7);
  const requests = Array.from({ length: 7 }, (_, index) => ({
    key: `key-${index}`,
    items: 'case*1,phone*1',
  }));
  for (const { outcome } of await buy(sale, requests)) assert.equal(outcome, 'reserved');
  const [again, more] = await buy(sale, [{ key: 'one', items: 'case*1' }, { key: 'two' }]);
  assert.deepEqual(again, { outcome: 'limit_reached', limit: 7, remaining: 0, sku: 'case' });
  assert.equal(more!.outcome, 'reserved');
});

test('a field of an earlier version, with many records, is read and becomes an index', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  const { saleId } = sale;
  const terms = `\tAbCdEfGh\tphone*1\t1999\t1700000000000\t1700000300000\t`;
  const records = Array.from(
    { length: 1_000 },
    (_, index) => `2\tX\t${index + 1}${terms}old-${index + 1}`,
  );
  records.push(`1\tR\t1001${terms.replace('1700000300000', '4102444800000')}living`);
  await client.hset(saleKey(saleId, 'buyers'), 'ada', records.join('\n'));
  await client.rpush(saleKey(saleId, 'order'), ...Array(1_001).fill('ada'));
  await client.hset(saleKey(saleId, 'sale'), 'position', 1_001);
  // It was never above the limit of living units, and every key still leads to its reservation.
  const [first] = await buy(sale, [{ key: 'new' }]);
  assert.equal(first!.outcome, 'limit_reached');
  assert.ok((await client.hstrlen(saleKey(saleId, 'buyers'), 'ada')) < 600);
  assert.equal(await client.hlen(saleKey(saleId, 'past')), 2 * 1_001);
  for (const key of ['old-1', 'old-500', 'old-990', 'living']) {
    const [reply] = await buy(sale, [{ key }]);
    assert.equal(reply!.outcome, 'replayed');
  }
});

test('what the previous version moved to the past is found by key and by id', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  const { saleId } = sale;
  const record = (position: number) =>
    `2\tX\t${position}\tAbCdEfGh\tphone*1\t1999\t1700000000000\t1700000300000\told-${position}`;
  const kept = Array.from({ length: KEPT }, (_, index) => record(index + 2));
  await client.hset(saleKey(saleId, 'buyers'), 'ada', kept.join('\n'));
  await client.hset(saleKey(saleId, 'past'), { 'ada\t1': record(1), 'ada\t\told-1': '1' });
  await client.rpush(saleKey(saleId, 'order'), ...Array(KEPT + 1).fill('ada'));
  await client.hset(saleKey(saleId, 'sale'), 'position', KEPT + 1);
  for (let round = 0; round < 2; round++) {
    const replies = await buy(sale, [{ key: 'old-1' }, { key: 'old-2' }]);
    for (const { outcome } of replies) assert.equal(outcome, 'replayed');
    const reply = await shards.call(readBuyer, saleId, 'ada', 1);
    if (reply.outcome !== 'known') assert.fail();
    assert.equal(reply.reservations.length, KEPT + 1);
  }
  await buyOne(sale, 'new');
});

test('one call shortens one oversized field; the other buyers are refused until then', async () => {
  const sale = await openSale(shards, { phone: 10 });
  const { client } = shards.of(sale.saleId);
  const line = `2\tX\t1\tAbCdEfGh\tphone*1\t1999\t1700000000000\t1700000300000\t${'k'.repeat(64)}`;
  const records = Array.from({ length: 1_000 }, () => line).join('\n');
  for (const buyerId of ['ada', 'bob', 'cyd']) {
    await client.hset(saleKey(sale.saleId, 'buyers'), buyerId, records);
  }
  const replies = await buy(sale, [{ buyerId: 'ada' }, { buyerId: 'bob' }, { buyerId: 'dan' }]);
  assert.deepEqual(
    replies.map(({ outcome }) => outcome),
    ['reserved', 'overloaded', 'reserved'],
  );
});

test('20 holds that ended within ten minutes begin a cool-down, which ends by itself', async () => {
  const sale = await openSale(shards, { phone: 10, case: 1 });
  for (let round = 1; round <= KEPT; round++) {
    const { reservationId } = await buyOne(sale, `key-${round}`);
    await applyTransition(shards, { reservationId, saleId: sale.saleId }, 'give-back');
  }
  const [first] = await buy(sale, [{ key: 'one-more' }]);
  if (first?.outcome !== 'too_many_holds') assert.fail(first?.outcome);
  const { nowMs } = await sale.state();
  assert.ok(first.untilMs > nowMs && first.untilMs <= nowMs + WINDOW_MS);
  const me = await shards.call(readBuyer, sale.saleId, 'ada');
  assert.equal(me.outcome === 'known' && me.coolDownEndMs, first.untilMs);
  const [repeated] = await buy(sale, [{ key: 'key-1' }]);
  assert.equal(repeated!.outcome, 'replayed');
  await buy(sale, [{ buyerId: 'bob', items: 'case*1' }]);
  const request = { buyerId: 'ada', sku: 'case', quantity: 1 };
  const join = await shards.call(joinWaitlist, sale.saleId, request);
  assert.deepEqual(join, { outcome: 'too_many_holds', untilMs: first.untilMs });

  await makeOlder(sale);
  const [later] = await buy(sale, [{ key: 'one-more' }]);
  assert.equal(later!.outcome, 'reserved');
});

test('orders that a merchant confirmed and refunded, or extended, are no looped holds', async () => {
  const sale = await openSale(shards, { phone: 10 });
  for (let round = 1; round <= KEPT + 1; round++) {
    const { reservationId } = await buyOne(sale, `key-${round}`);
    const reservation = { reservationId, saleId: sale.saleId };
    await applyTransition(shards, reservation, round % 2 === 0 ? 'extend' : 'confirm');
    await applyTransition(shards, reservation, 'cancel');
  }
  await buyOne(sale, 'one-more');
});

test('a waiting buyer in a cool-down is not served, and keeps nobody waiting', async () => {
  const sale = await openSale(shards, { phone: 10, case: 1 }, { perBuyerLimit: 5 });
  const [won] = await buy(sale, [{ buyerId: 'bob', items: 'case*1' }]);
  for (const buyerId of ['ada', 'cyd']) {
    const joined = await shards.call(joinWaitlist, sale.saleId, {
      buyerId,
      sku: 'case',
      quantity: 1,
    });
    assert.equal(joined.outcome, 'joined');
  }
  for (let round = 1; round <= KEPT; round++) {
    const { reservationId } = await buyOne(sale, `key-${round}`);
    await applyTransition(shards, { reservationId, saleId: sale.saleId }, 'give-back');
  }
  if (!won || !('record' in won)) assert.fail();
  const sold = parseRecord(won.record, { saleId: sale.saleId, currency: 'EUR' }, 'bob');
  await applyTransition(shards, sold, 'give-back');
  const [ada, cyd] = await Promise.all(
    ['ada', 'cyd'].map((buyerId) => shards.call(readBuyer, sale.saleId, buyerId)),
  );
  assert.deepEqual(ada?.outcome === 'known' && ada.waiting, []);
  assert.equal(cyd?.outcome === 'known' && cyd.reservations[0]?.status, 'reserved');
});

test('a buyer has at most 20 living reservations, whatever the limit of units', async () => {
  const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 100 });
  const replies = await buy(
    sale,
    Array.from({ length: KEPT + 1 }, (_, index) => ({ key: `key-${index}` })),
  );
  assert.equal(replies.pop()!.outcome, 'limit_reached');
  for (const { outcome } of replies) assert.equal(outcome, 'reserved');
});

for (const { name, others } of [
  { name: 'few records', others: 0 },
  { name: 'an index', others: 6 },
]) {
  test(`a reservation of which a part was cancelled, of a buyer with ${name}, repeats its basket and counts what is left`, async () => {
    const sale = await openSale(shards, { phone: 20, cable: 20 }, { perBuyerLimit: 8 + others });
    const basket = 'cable*1,phone*3';
    const keys = ['', 'cart', ...Array.from({ length: others }, (_, index) => `other-${index}`)];
    for (const key of keys) {
      const items = key.startsWith('other') ? 'phone*1' : basket;
      const [bought] = await buy(sale, [{ key, items }]);
      assert.equal(bought!.outcome, 'reserved', key);
    }
    const known = await shards.call(readBuyer, sale.saleId, 'ada');
    if (known.outcome !== 'known') assert.fail();
    const items = [
      { sku: 'phone', quantity: 2 },
      { sku: 'cable', quantity: 1 },
    ];
    for (const reservation of known.reservations.slice(0, 2)) {
      const reply = await applyTransition(shards, reservation, 'cancel', { items });
      assert.equal(reply.outcome, 'changed');
    }
    for (const repeated of ['', 'cart']) {
      const [outcome] = await buy(sale, [{ key: repeated, items: basket }]);
      assert.equal(outcome!.outcome, 'replayed', repeated);
      if (!('record' in outcome!)) assert.fail();
      const shown = parseRecord(outcome.record, { saleId: sale.saleId, currency: 'EUR' }, 'ada');
      assert.deepEqual(
        shown.items.map(({ quantity, cancelled }) => [quantity, cancelled]),
        [
          [0, 1],
          [1, 2],
        ],
      );
      assert.equal(shown.total, shown.items[1]!.unitPrice);
    }
    const [reused] = await buy(sale, [{ key: 'cart', items: 'cable*0,phone*1' }]);
    assert.equal(reused!.outcome, 'key_reused');
    const [above] = await buy(sale, [{ key: 'more', items: 'phone*7' }]);
    assert.equal(above!.outcome, 'limit_reached');
    const [within] = await buy(sale, [{ key: 'more', items: 'phone*6' }]);
    assert.equal(within!.outcome, 'reserved');

    const reply = await shards.call(readBuyer, sale.saleId, 'ada');
    if (reply.outcome !== 'known') assert.fail();
    const [first, second] = reply.reservations;
    const before = (await sale.state()).stock;
    assert.equal((await applyTransition(shards, first!, 'confirm')).outcome, 'changed');
    assert.equal((await applyTransition(shards, second!, 'cancel')).outcome, 'changed');
    const after = (await sale.state()).stock;
    for (const [index, left] of [1, 0].entries()) {
      assert.equal(after[index]!.confirmed - before[index]!.confirmed, left);
      assert.equal(after[index]!.remaining - before[index]!.remaining, left);
    }
  });
}
