/** After the sell-out a hot path refuses buyers without Redis, but never a buyer who has a reservation or can still get one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';
import { parseReservationId } from '../../src/domain/identifiers.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { keysOf } from '../../src/lua/script.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const [here, there] = [await useHotPath(FILE, redis.url), await useHotPath(FILE, redis.url)];

/** The number of requests that the hot path has refused without Redis. */
const refused = (hotPath: TestHotPath) => hotPath.metric('flash_sale_local_sold_out_total');
let strangers = 0;

/** Waits until the hot path refuses strangers without Redis. */
async function untilKnownSoldOut(hotPath: TestHotPath, { saleId }: TestSale, body?: unknown) {
  const before = await refused(hotPath);
  await eventually(async () => {
    const reply = await hotPath.buy(saleId, `stranger-${++strangers}`, { body });
    assert.equal(reply.body.code, 'sold_out');
    assert.ok((await refused(hotPath)) > before);
  });
}

/** The merchant cancels a reservation, as admin does it. */
async function cancel(reservationId: string, client?: Redis): Promise<void> {
  const address = parseReservationId(reservationId)!;
  const { saleId } = address;
  const move = { address, transition: 'cancel', buyerId: '', detail: 'a test', ...TRACE } as const;
  if (!client) {
    assert.equal((await shards.call(transition, saleId, move)).outcome, 'changed');
    return;
  }
  const keys = keysOf(transition, saleId);
  const args = [shards.of(saleId).runId!, ...transition.encode(move)];
  const [outcome] = (await client.eval(
    transition.source,
    keys.length,
    ...keys,
    ...args,
  )) as string[];
  assert.equal(outcome, 'changed');
}
const TRACE = { requestId: 'test', traceparent: '', tag: 'abcdefgh' };

test('ten thousand late buyers cost few Redis calls', async () => {
  const sale = await openSale(shards, { phone: 3 });
  for (const winner of ['w1', 'w2', 'w3']) await here.buy(sale.saleId, winner);
  await untilKnownSoldOut(here, sale);
  const calls = async () => {
    const stats = await shards.of(sale.saleId).client.info('commandstats');
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
  };
  const before = await calls();
  const replies = await Promise.all(
    Array.from({ length: 10_000 }, (_, i) => here.buy(sale.saleId, `late-${i}`)),
  );
  assert.deepEqual([...new Set(replies.map(({ body }) => body.code))], ['sold_out']);
  const spent = (await calls()) - before;
  assert.ok(spent < 1_000, `${spent} calls`);
});

test('a buyer with a reservation gets it from every hot path, with and without a key', async () => {
  const sale = await openSale(shards, { phone: 3 });
  const first = await here.buy(sale.saleId, 'ada');
  const second = await there.buy(sale.saleId, 'grace', { key: 'k-1' });
  const third = await there.buy(sale.saleId, 'mary');
  await cancel(third.body.reservationId);
  const fourth = await there.buy(sale.saleId, 'joan');
  for (const hotPath of [here, there]) {
    await untilKnownSoldOut(hotPath, sale);
    for (const [won, buyer, key] of [
      [first, 'ada', undefined],
      [second, 'grace', 'k-1'],
      [fourth, 'joan', undefined],
    ] as const) {
      const again = await hotPath.buy(sale.saleId, buyer, key ? { key } : {});
      assert.equal(again.status, 200, `${buyer}: ${JSON.stringify(again.body)}`);
      assert.equal(again.body.reservationId, won.body.reservationId);
    }
    assert.equal(
      (await hotPath.buy(sale.saleId, 'grace', { key: 'k-2' })).body.code,
      'limit_reached',
    );
  }
});

/** Buys until a purchase succeeds. Until the hint arrives, buyers may get `sold_out`. */
async function sellsAgain(hotPath: TestHotPath, { saleId }: TestSale, withinMs: number) {
  const startedAt = performance.now();
  for (;;) {
    const reply = await hotPath.buy(saleId, `stranger-${++strangers}`);
    if (reply.status === 201) return reply.body;
    assert.equal(reply.body.code, 'sold_out');
    const lateMs = performance.now() - startedAt;
    assert.ok(lateMs < withinMs, `still sold out after ${lateMs} ms`);
  }
}
/** A hint takes a millisecond; the rest is for a busy machine. Without it, a read would do after 60 to 250 ms. */
const HINT_MS_MAX = 50;

test('released, cancelled and loaded units are on sale again at once', async () => {
  const sale = await openSale(shards, { phone: 1 });
  const won = await here.buy(sale.saleId, 'ada');
  await untilKnownSoldOut(here, sale);
  const path = `/v1/reservations/${won.body.reservationId}/cancel`;
  await here.call(path, { method: 'POST', buyer: 'ada' });
  const next = await here.buy(sale.saleId, 'grace');
  assert.equal(next.status, 201, JSON.stringify(next.body));

  await untilKnownSoldOut(there, sale);
  await cancel(next.body.reservationId);
  await sellsAgain(there, sale, HINT_MS_MAX);

  await untilKnownSoldOut(here, sale);
  await sale.change({}, [{ sku: 'phone', delta: 1 }]);
  await sellsAgain(here, sale, HINT_MS_MAX);
});

test('without the hint, units are on sale again when the view is too old', async (t) => {
  const { client } = shards.of('any');
  // A merchant's connection that may not publish.
  await client.call('ACL', 'SETUSER', 'mute', 'on', '>mute', '~*', '+@all', 'resetchannels');
  const mute = await use(
    t,
    () => new Redis({ port: redis.port, username: 'mute', password: 'mute' }),
    (connection) => connection.disconnect(),
  );
  const sale = await openSale(shards, { phone: 1 });
  const won = await there.buy(sale.saleId, 'ada');
  await untilKnownSoldOut(here, sale);
  await cancel(won.body.reservationId, mute);
  // 250 ms; the rest is for a busy machine.
  await sellsAgain(here, sale, 1_000);
});

test('another SKU of the sale continues to sell, while the first is refused as sold out', async () => {
  const sale = await openSale(shards, { phone: 1, case: 100 }, { perBuyerLimit: 2 });
  await there.buy(sale.saleId, 'ada', { body: { sku: 'phone' } });
  await untilKnownSoldOut(here, sale, { sku: 'phone' });
  for (let i = 0; i < 20; i++) {
    assert.equal((await here.buy(sale.saleId, `case-${i}`, { body: { sku: 'case' } })).status, 201);
  }
  await untilKnownSoldOut(here, sale, { sku: 'phone' });
  const basket = {
    items: [
      { sku: 'phone', quantity: 1 },
      { sku: 'case', quantity: 1 },
    ],
  };
  assert.equal((await here.buy(sale.saleId, 'basket', { body: basket })).body.code, 'sold_out');
  const excessive = { sku: 'phone', quantity: 3 };
  assert.equal(
    (await here.buy(sale.saleId, 'greedy', { body: excessive })).body.code,
    'limit_reached',
  );
  const nothing = { sku: 'tablet' };
  assert.equal(
    (await here.buy(sale.saleId, 'lost', { body: nothing })).body.code,
    'invalid_request',
  );
});

test('a paused or recovering sale is refused for that reason, not as sold out', async () => {
  const sale = await openSale(shards, { phone: 1 });
  await there.buy(sale.saleId, 'ada');
  await untilKnownSoldOut(here, sale);
  await sale.change({ status: 'paused' });
  await eventually(async () =>
    assert.equal((await here.buy(sale.saleId, 'b')).body.code, 'sale_paused'),
  );
  await sale.change({ status: 'open' });
  await untilKnownSoldOut(here, sale);
  await shards.of(sale.saleId).client.hset(`fs:{${sale.saleId}}:sale`, 'fence', 'another');
  await eventually(async () =>
    assert.equal((await here.buy(sale.saleId, 'b')).body.code, 'recovering'),
  );
});

test('in random histories, no buyer with a reservation gets sold_out', async () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('buy'), buyer: fc.nat(11), at: fc.nat(1) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('give-back'), buyer: fc.nat(11), at: fc.nat(1) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('load'), buyer: fc.nat(11), at: fc.nat(1) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('settle'), buyer: fc.nat(11), at: fc.nat(1) }),
    },
  );
  const refusedBefore = (await refused(here)) + (await refused(there));
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const sale = await openSale(shards, { phone: 3 });
      /** Live reservations by buyer. */
      const living = new Map<string, string>();
      for (const each of steps) {
        const buyer = `buyer-${each.buyer}`;
        const hotPath = [here, there][each.at]!;
        const owned = living.get(buyer);
        if (each.do === 'buy') {
          const reply = await hotPath.buy(sale.saleId, buyer);
          if (owned !== undefined) {
            assert.equal(reply.status, 200, `${buyer} has ${owned}: ${JSON.stringify(reply.body)}`);
            assert.equal(reply.body.reservationId, owned);
          } else if (reply.status === 201) {
            living.set(buyer, reply.body.reservationId as string);
          } else {
            assert.equal(reply.body.code, 'sold_out');
          }
        } else if (each.do === 'give-back' && owned !== undefined) {
          await cancel(owned);
          living.delete(buyer);
        } else if (each.do === 'load' && each.buyer === 0) {
          await sale.change({}, [{ sku: 'phone', delta: 1 }]);
        } else if (each.do === 'settle') {
          // Long enough for both hot paths to read who has a reservation.
          await sleep(150);
        }
      }
      const { stock } = await sale.state();
      assert.equal(stock[0]!.held, living.size);
    }),
    { numRuns: 12 },
  );
  const refusedNow = (await refused(here)) + (await refused(there));
  assert.ok(refusedNow > refusedBefore, 'no run reached a refusal without Redis');
});
