/**
 * A rebuild restores the same sale whatever happened before: every record, the order, every deadline and every count.
 * Histories are random, and each sale is rebuilt twice, so that gaps in the positions are rebuilt too.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { applyTransition } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { wholeRecordsOf } from '../../harness/sales/whole-records.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { parseReservationId, reservationIdOf } from '../../src/domain/identifiers.ts';
import type { ReservationTransition } from '../../src/domain/reservation.ts';
import { canonicalItems } from '../../src/domain/reservation-codec.ts';
import { writeDetail } from '../../src/domain/transition-detail.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { verifySale } from '../../src/verify/verify.ts';

const SKUS = ['A', 'B', 'C'];
const BUYERS = Array.from({ length: 12 }, (_, index) => `buyer-${index}`);

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('buy' as const),
      presses: fc.array(
        fc.record({
          buyerId: fc.constantFrom(...BUYERS),
          key: fc.constantFrom<string>('', '', 'k1', 'k2'),
          items: fc
            .uniqueArray(
              fc.record({
                sku: fc.constantFrom(...SKUS),
                quantity: fc.integer({ min: 1, max: 2 }),
              }),
              { minLength: 1, maxLength: 2, selector: ({ sku }) => sku },
            )
            .map(canonicalItems),
        }),
        { minLength: 1, maxLength: 6 },
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('transition' as const),
      which: fc.nat(),
      transition: fc.constantFrom<Exclude<ReservationTransition, 'expire'>[]>(
        'confirm',
        'cancel',
        'give-back',
        'extend',
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      which: fc.nat(),
      sku: fc.constantFrom(...SKUS),
      restock: fc.boolean(),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const { redis, database, servers } = await useServers(FILE);
await usePersister(FILE, redis.url, database.url, { restMs: 100 }, { BACKLOG_MAX: '50' });

async function take(saleId: string, each: Step): Promise<void> {
  const { shards } = servers;
  if (each.do === 'buy') {
    const requests = each.presses.map(({ buyerId, key, items }) => ({
      buyerId,
      idempotencyKey: key,
      items,
      requestId: 'r',
      traceparent: '',
    }));
    const tag = Math.random().toString(36).slice(2, 10).padEnd(8, 'x');
    await shards.call(reserve, saleId, { tag, backlogMax: 1_000_000, requests });
    return;
  }
  const { buyers } = await contents(saleId);
  const records = Object.values(buyers).flatMap((text) => text.split('\n'));
  if (records.length === 0) return;
  const [, , position, tag] = records[each.which % records.length]!.split('\t');
  const reservationId = reservationIdOf({ saleId, position: Number(position), tag: tag! });
  const [wanted, part] =
    each.do === 'cut'
      ? (['cancel', { items: [{ sku: each.sku, quantity: 1 }], restock: each.restock }] as const)
      : [each.transition, {}];
  await applyTransition(shards, { saleId, reservationId }, wanted, part);
}

/** A sale in Redis without what a rebuild changes on purpose: server, timeline, last position. */
async function contents(saleId: string) {
  const { client } = servers.shards.of(saleId);
  const [buyers, past, order, holds] = await Promise.all([
    wholeRecordsOf(client, saleId),
    client.hgetall(saleKey(saleId, 'past')),
    client.lrange(saleKey(saleId, 'order'), 0, -1),
    client.zrange(saleKey(saleId, 'holds'), '0', '-1', 'WITHSCORES'),
  ]);
  const living = new Map<string, string>();
  for (const text of Object.values({ ...past, ...buyers }).flatMap((it) => it.split('\n'))) {
    const [, letter, position, , , , , expires] = text.split('\t');
    if (letter === 'R' || letter === 'P') living.set(position!, expires!);
  }
  // The deadline of each live hold. A range may also have ended holds, and old deadlines of extended ones.
  const deadlines = new Map<string, string>();
  for (let at = 0; at < holds.length; at += 2) {
    const [first, last] = holds[at]!.split('-').map(Number);
    for (let position = first!; position <= last!; position++) {
      if (living.get(String(position)) === holds[at + 1]) {
        deadlines.set(String(position), holds[at + 1]!);
      }
    }
  }
  assert.deepEqual(deadlines, new Map([...living].sort(byPosition)), 'every hold has its deadline');
  const { stock, definition, events, operation } = await saleState(servers.shards, saleId);
  return { buyers, past, order, stock, definition, events, operation };
}

function byPosition([a]: [string, string], [b]: [string, string]): number {
  return Number(a) - Number(b);
}

async function rebuilt(saleId: string): Promise<void> {
  await eventually(async () => {
    const { drained, events } = await saleState(servers.shards, saleId);
    assert.equal(drained, events);
  });
  const old = await contents(saleId);
  await servers.shards.of(saleId).client.flushall();
  await servers.shards.publishChanged(saleId);
  await eventually(async () => {
    assert.equal((await servers.shards.call(readSale, saleId)).outcome, 'known');
  });
  assert.deepEqual(await contents(saleId), old);
}

test('random histories are restored', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }),
      fc.array(step, { minLength: 1, maxLength: 20, size: 'max' }),
      async (first, second) => {
        const { saleId } = await makeSale(servers, {
          stock: 20,
          perBuyerLimit: 6,
          skus: SKUS.map((sku, index) => ({
            sku,
            name: sku,
            price: 100 + index,
            ...(index === 0 && { perBuyerLimit: 3 }),
          })),
        });
        for (const each of first) await take(saleId, each);
        await rebuilt(saleId);
        for (const each of second) await take(saleId, each);
        await servers.shards.call(sweep, saleId, { most: 50, tag: 'testtest' });
        await rebuilt(saleId);
      },
    ),
    {
      numRuns: Number(process.env.REBUILD_RUNS ?? (IS_LONG_RUN ? 40 : 5)),
      seed: Number(process.env.TEST_SEED ?? 1),
    },
  );
});

test('a buyer with a long past has the same recent reservations and the same past', async () => {
  const { saleId } = await makeSale(servers, { perBuyerLimit: 2 });
  for (let round = 0; round < 30; round++) {
    const press = { buyerId: 'ada', key: round % 3 === 1 ? '' : `key-${round}`, items: 'unit*1' };
    await take(saleId, { do: 'buy', presses: [press, { ...press, buyerId: `other-${round}` }] });
    // The first one stays. A confirmed one that is cancelled begins no cool-down.
    if (round === 0) continue;
    const own = await servers.shards.call(readBuyer, saleId, 'ada');
    if (own.outcome !== 'known') assert.fail(own.outcome);
    const { reservationId } = own.reservations.at(-1)!;
    for (const wanted of ['confirm', 'cancel'] as const) {
      await servers.shards.call(transition, saleId, {
        address: parseReservationId(reservationId)!,
        transition: wanted,
        detail: writeDetail({ actor: 'test', transition: wanted }),
        requestId: 'r',
        traceparent: '',
        tag: 'testtest',
      });
    }
  }
  const { buyers, past: all } = await contents(saleId);
  // Without the merchant notes, which have no buyer.
  const past = Object.fromEntries(Object.entries(all).filter(([field]) => !field.startsWith('\t')));
  assert.match(buyers.ada!, /^#1 1 0\t( \d+:){20}\t 1:1:\d+:$/);
  // Of these records, 20 have keys.
  assert.equal(Object.keys(past).length, 30 + 20);
  await rebuilt(saleId);

  const failing = async () => {
    const policy = { catchUpMs: 10_000, repeats: 0, pauseMs: 0 };
    const { checks } = await verifySale(servers, saleId, policy);
    return checks.filter(({ ok }) => !ok).map(({ name }) => name);
  };
  assert.deepEqual(await failing(), []);
  const { client } = servers.shards.of(saleId);
  const pastKey = saleKey(saleId, 'past');
  const [position] = Object.keys(past).flatMap((field) => field.split('\t')[1] || []);
  const field = `ada\t${position}\t`;
  const record = past[field]!;
  await client.hdel(pastKey, field);
  assert.deepEqual(await failing(), ['every-row-is-in-redis']);
  await client.hset(pastKey, field, record.replace('unit*1', 'unit*2'));
  assert.deepEqual(await failing(), ['every-reservation-in-redis-is-a-row']);
  await client.hset(pastKey, field, record, 'ada\t\tkey-2', '1');
  assert.deepEqual(await failing(), ['every-reservation-in-redis-is-a-row']);
  await client.hset(pastKey, 'ada\t\tkey-2', past['ada\t\tkey-2']!);
  assert.deepEqual(await failing(), []);

  // Each part of the index.
  const index = buyers.ada!;
  for (const [from, to] of [
    [/^#1 /, '#2 '],
    [/^#1 1 /, '#1 2 '],
    [/^#1 1 0/, '#1 1 5'],
    [/\t \d+:/, '\t'],
    [/(\t \d+:)/, '$17'],
    [/ 1:1:/, ' 1:2:'],
    [/:$/, ':12345678'],
    [/ 1:1:\d+:$/, ''],
    [/^.*$/, '#1 1 0'],
  ] as const) {
    assert.notEqual(index.replace(from, to), index);
    await client.hset(saleKey(saleId, 'buyers'), 'ada', index.replace(from, to));
    assert.deepEqual(await failing(), ['every-reservation-in-redis-is-a-row'], String(from));
  }
});

test('buyers whose records are in several portions of the rebuild are restored', async () => {
  const { saleId } = await makeSale(servers, { stock: 10_000, perBuyerLimit: 10 });
  for (let number = 0; number < 45; number++) {
    const presses = Array.from({ length: 60 }, (_, index) => ({
      // Some buyers are again in the next portion, some in the same one.
      buyerId: `buyer-${(number * 60 + index) % (number < 5 ? 50 : 700)}`,
      key: `key-${number}-${index}`,
      items: 'unit*1',
    }));
    await take(saleId, { do: 'buy', presses });
  }
  assert.ok((await contents(saleId)).order.length > 2_500);
  await rebuilt(saleId);
});
