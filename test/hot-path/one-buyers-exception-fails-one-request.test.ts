import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { liveChannel, saleKey } from '../../src/lua/keys.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);
const failures = () => hotPath.metric('flash_sale_handler_failures_total');

/** The hold is not past its deadline: a sweep would end it first. */
const TIMES = '1700000000000\t9000000000000';

/** Damaged in ways that the script does not notice, and in ways that it does. */
const DAMAGED: [what: string, record: string][] = [
  ['an unreadable price', `1\tR\t1\tAbCdEfGh\tphone*1\tcheap\t${TIMES}\tkey`],
  ['an unknown status', `1\tQ\t1\tAbCdEfGh\tphone*1\t1999\t${TIMES}\tkey`],
  [
    'a time that is no date',
    `1\tR\t1\tAbCdEfGh\tphone*1\t1999\t1700000000000\t9000000000000000\tkey`,
  ],
  ['no field at all', 'damaged'],
  ['the short form, and no terms', 'AAzz\tkey'],
  ['fewer fields', '1\tR\t1'],
];

for (const [what, record] of DAMAGED) {
  test(`a buyer whose record has ${what} gets 503, and the rest of the batch its reservations`, async () => {
    const sale = await openSale(shards, { phone: 10 });
    await hotPath.call(`/v1/sales/${sale.saleId}`);
    const { client } = shards.of(sale.saleId);
    await client.hset(saleKey(sale.saleId, 'buyers'), 'bob', record);
    const before = await failures();
    const buyers = ['ada', 'bob', 'cyd'];
    const replies = await Promise.all(
      buyers.map((buyer) => hotPath.buy(sale.saleId, buyer, { key: 'key' })),
    );
    assert.deepEqual(
      replies.map(({ status }) => status),
      [201, 503, 201],
    );
    assert.equal(replies[1]!.body.code, 'unavailable');
    assert.ok(replies[1]!.headers['retry-after']);
    assert.equal(await failures(), before + 1);
    const path = `/v1/sales/${sale.saleId}/me`;
    assert.equal((await hotPath.call(path, { buyer: 'bob' })).status, 503);
    assert.equal((await hotPath.call(path, { buyer: 'ada' })).status, 200);
  });
}

test('an unknown line of the script fails its buyer only', () => {
  const requests = ['ada', 'bob', 'cyd'].map((buyerId) => ({
    buyerId,
    idempotencyKey: '',
    items: 'phone*1',
    requestId: '',
    traceparent: '',
  }));
  const batch = { tag: 'AbCdEfGh', backlogMax: 1, requests };
  const reply = `9007199254740990\t${TIMES}\nreserved\t1\nno word of ours\nreserved\t1`;
  const outcomes = reserve.decode(reply, 'sale', batch);
  assert.deepEqual(
    outcomes.map((each) => ('position' in each ? each.position : each.outcome)),
    [9007199254740990, 'unreadable', 9007199254740991],
  );
});

test('damaged live events disconnect nobody', async (t) => {
  const sale = await openSale(shards, { phone: 10 });
  const watcher = await useWatcher(t, hotPath, sale.saleId, { buyer: 'ada' });
  await watcher.receives('sale', () => true);
  const { client } = shards.of(sale.saleId);
  for (const line of ['', '\n\n', '\t'.repeat(13), `1\tR\t1\t\t\t\t\t\t\tada\t\t%\t\t`]) {
    await client.publish(liveChannel(sale.saleId), line);
  }
  assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
  const { reservation } = await watcher.receives('reservation', () => true);
  assert.equal(reservation.buyerId, 'ada');
});
