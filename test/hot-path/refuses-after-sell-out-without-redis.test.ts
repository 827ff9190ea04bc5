/** Who can get nothing any more hears so at once; whoever has something, or might, is never told so by mistake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { parseReservationId } from '../../src/domain/identifiers.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { keysOf } from '../../src/lua/script.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const [here, there] = [await useHotPath(FILE, redis.url), await useHotPath(FILE, redis.url)];

/** How many the front end has refused without Redis. */
const refused = (frontEnd: TestHotPath) => frontEnd.metric('flash_sale_local_sold_out_total');
let strangers = 0;

/** Until strangers are refused without Redis. */
async function knowsThatAllIsGone(frontEnd: TestHotPath, { saleId }: TestSale, body?: unknown) {
  const before = await refused(frontEnd);
  await eventually(async () => {
    const reply = await frontEnd.buy(saleId, `stranger-${++strangers}`, { body });
    assert.equal(reply.body.code, 'sold_out');
    assert.ok((await refused(frontEnd)) > before);
  });
}

/** Given back by the merchant, as admin does it. */
async function giveBack(reservationId: string, client?: Redis): Promise<void> {
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

test('ten thousand who come too late cost Redis next to nothing', async () => {
  const sale = await openSale(shards, { phone: 3 });
  for (const winner of ['w1', 'w2', 'w3']) await here.buy(sale.saleId, winner);
  await knowsThatAllIsGone(here, sale);
  const calls = async () => {
    const stats = await shards.of(sale.saleId).client.info('commandstats');
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
  };
  const before = await calls();
  const replies = await Promise.all(
    Array.from({ length: 10_000 }, (_, i) => here.buy(sale.saleId, `late-${i}`)),
  );
  assert.ok(replies.every(({ status, body }) => status === 409 && body.code === 'sold_out'));
  const spent = (await calls()) - before;
  assert.ok(spent < 1_000, `${spent} calls`);
});

test('whoever got something sees it, at whichever front end and with whichever key', async () => {
  const sale = await openSale(shards, { phone: 3 });
  const first = await here.buy(sale.saleId, 'ada');
  const second = await there.buy(sale.saleId, 'grace', { key: 'k-1' });
  const third = await there.buy(sale.saleId, 'mary');
  await giveBack(third.body.reservationId);
  const fourth = await there.buy(sale.saleId, 'joan');
  for (const frontEnd of [here, there]) {
    await knowsThatAllIsGone(frontEnd, sale);
    for (const [won, buyer, key] of [
      [first, 'ada', undefined],
      [second, 'grace', 'k-1'],
      [fourth, 'joan', undefined],
    ] as const) {
      const again = await frontEnd.buy(sale.saleId, buyer, key ? { key } : {});
      assert.equal(again.status, 200, `${buyer}: ${JSON.stringify(again.body)}`);
      assert.equal(again.body.reservationId, won.body.reservationId);
    }
    assert.equal(
      (await frontEnd.buy(sale.saleId, 'grace', { key: 'k-2' })).body.code,
      'limit_reached',
    );
  }
});

/** The first to get it; others may hear "sold out" for as long as word of it is on its way. */
async function sellsAgain(frontEnd: TestHotPath, { saleId }: TestSale, withinMs: number) {
  const startedAt = performance.now();
  for (;;) {
    const reply = await frontEnd.buy(saleId, `stranger-${++strangers}`);
    if (reply.status === 201) return reply.body;
    assert.equal(reply.body.code, 'sold_out');
    const lateMs = performance.now() - startedAt;
    assert.ok(lateMs < withinMs, `still sold out after ${lateMs} ms`);
  }
}
/** Word takes a millisecond; the rest is for a busy machine. Without it a reading would do after 60 to 250 ms. */
const WORD_MS_MAX = 50;

test('what comes back is on sale again at once: given back, cancelled or loaded', async () => {
  const sale = await openSale(shards, { phone: 1 });
  const won = await here.buy(sale.saleId, 'ada');
  await knowsThatAllIsGone(here, sale);
  const cancel = `/v1/reservations/${won.body.reservationId}/cancel`;
  await here.call(cancel, { method: 'POST', buyer: 'ada' });
  const next = await here.buy(sale.saleId, 'grace');
  assert.equal(next.status, 201, JSON.stringify(next.body));

  await knowsThatAllIsGone(there, sale);
  await giveBack(next.body.reservationId);
  await sellsAgain(there, sale, WORD_MS_MAX);

  await knowsThatAllIsGone(here, sale);
  await sale.change({}, [{ sku: 'phone', delta: 1 }]);
  await sellsAgain(here, sale, WORD_MS_MAX);
});

test('where word of it is lost, it is on sale again when the reading is too old', async (t) => {
  const { client } = shards.of('any');
  // A merchant's side that may tell nobody.
  await client.call('ACL', 'SETUSER', 'mute', 'on', '>mute', '~*', '+@all', 'resetchannels');
  const mute = new Redis({ port: redis.port, username: 'mute', password: 'mute' });
  t.after(() => mute.disconnect());
  const sale = await openSale(shards, { phone: 1 });
  const won = await there.buy(sale.saleId, 'ada');
  await knowsThatAllIsGone(here, sale);
  await giveBack(won.body.reservationId, mute);
  // 250 ms; the rest is for a busy machine.
  await sellsAgain(here, sale, 1_000);
});

test('another SKU of the sale goes on selling, and its buyers are told so of the first', async () => {
  const sale = await openSale(shards, { phone: 1, case: 100 }, { perBuyerLimit: 2 });
  await there.buy(sale.saleId, 'ada', { body: { sku: 'phone' } });
  await knowsThatAllIsGone(here, sale, { sku: 'phone' });
  for (let i = 0; i < 20; i++) {
    assert.equal((await here.buy(sale.saleId, `case-${i}`, { body: { sku: 'case' } })).status, 201);
  }
  await knowsThatAllIsGone(here, sale, { sku: 'phone' });
  const basket = {
    items: [
      { sku: 'phone', quantity: 1 },
      { sku: 'case', quantity: 1 },
    ],
  };
  assert.equal((await here.buy(sale.saleId, 'basket', { body: basket })).body.code, 'sold_out');
  const wish = { sku: 'phone', quantity: 3 };
  assert.equal((await here.buy(sale.saleId, 'greedy', { body: wish })).body.code, 'limit_reached');
  const nothing = { sku: 'tablet' };
  assert.equal(
    (await here.buy(sale.saleId, 'lost', { body: nothing })).body.code,
    'invalid_request',
  );
});

test('a sale that is paused, ended or recovering says that, and not that it is sold out', async () => {
  const sale = await openSale(shards, { phone: 1 });
  await there.buy(sale.saleId, 'ada');
  await knowsThatAllIsGone(here, sale);
  await sale.change({ status: 'paused' });
  await eventually(async () =>
    assert.equal((await here.buy(sale.saleId, 'b')).body.code, 'sale_paused'),
  );
  await sale.change({ status: 'open' });
  await knowsThatAllIsGone(here, sale);
  await shards.of(sale.saleId).client.hset(`fs:{${sale.saleId}}:sale`, 'fence', 'another');
  await eventually(async () =>
    assert.equal((await here.buy(sale.saleId, 'b')).body.code, 'recovering'),
  );
});

test('whatever buyers, merchants and operators do, nobody who has something is told "sold out"', async () => {
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
      /** Buyer -> reservation that lives. */
      const living = new Map<string, string>();
      for (const each of steps) {
        const buyer = `buyer-${each.buyer}`;
        const frontEnd = [here, there][each.at]!;
        const owned = living.get(buyer);
        if (each.do === 'buy') {
          const reply = await frontEnd.buy(sale.saleId, buyer);
          if (owned !== undefined) {
            assert.equal(reply.status, 200, `${buyer} has ${owned}: ${JSON.stringify(reply.body)}`);
            assert.equal(reply.body.reservationId, owned);
          } else if (reply.status === 201) {
            living.set(buyer, reply.body.reservationId as string);
          } else {
            assert.equal(reply.body.code, 'sold_out');
          }
        } else if (each.do === 'give-back' && owned !== undefined) {
          await giveBack(owned);
          living.delete(buyer);
        } else if (each.do === 'load' && each.buyer === 0) {
          await sale.change({}, [{ sku: 'phone', delta: 1 }]);
        } else if (each.do === 'settle') {
          // Long enough for both front ends to know who has something.
          await new Promise((resolve) => setTimeout(resolve, 150));
        }
      }
      const { stock } = await sale.state();
      assert.equal(stock[0]!.held, living.size);
    }),
    { numRuns: 12 },
  );
  const refusedNow = (await refused(here)) + (await refused(there));
  assert.ok(refusedNow > refusedBefore, 'no run came to a refusal without Redis');
});
