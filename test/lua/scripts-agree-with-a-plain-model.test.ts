import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import {
  canonicalItems,
  type Item,
  parseEvent,
  parseRecord,
} from '../../src/domain/reservation.ts';
import type { SaleDefinition, SaleStatus } from '../../src/domain/sale.ts';
import { applyOperation, type StockChange } from '../../src/lua/apply-operation.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { readBuyer } from '../../src/lua/read-buyer.ts';
import { readSale } from '../../src/lua/read-sale.ts';
import { reserve } from '../../src/lua/reserve.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { connectShards } from '../support/hot-path.ts';
import { startRedis, type TestRedis } from '../support/servers.ts';
import { SaleModel } from './sale-model.ts';

const HOUR_MS = 3_600_000;
const SKUS = ['A', 'B', 'C'];
const BUYERS = ['ada', 'bob', 'cyd', 'dan'];

interface Press {
  buyerId: string;
  key: string;
  items: Item[];
}

type Step =
  | { do: 'buy'; presses: Press[] }
  | { do: 'stock'; changes: StockChange[] }
  | {
      do: 'define';
      status: SaleStatus;
      startsIn: number | null;
      endsIn: number | null;
      limit: number;
    };

const basket = fc
  .uniqueArray(fc.constantFrom(...SKUS, ...SKUS, ...SKUS, 'unknown'), {
    minLength: 1,
    maxLength: 3,
  })
  .chain((skus) =>
    fc.tuple(
      ...skus.map((sku) =>
        fc.record({ sku: fc.constant(sku), quantity: fc.integer({ min: 1, max: 3 }) }),
      ),
    ),
  );
const press: fc.Arbitrary<Press> = fc.record({
  buyerId: fc.constantFrom(...BUYERS),
  key: fc.constantFrom('', '', 'k1', 'k2', 'k3'),
  items: basket,
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('buy' as const),
      presses: fc.array(press, { minLength: 1, maxLength: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('stock' as const),
      changes: fc.uniqueArray(
        fc.record({ sku: fc.constantFrom(...SKUS), delta: fc.integer({ min: -4, max: 6 }) }),
        { minLength: 1, maxLength: 3, selector: ({ sku }) => sku },
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('define' as const),
      status: fc.constantFrom<SaleStatus>('open', 'open', 'open', 'paused', 'draft', 'ended'),
      startsIn: fc.constantFrom(null, null, -HOUR_MS, HOUR_MS),
      endsIn: fc.constantFrom(null, null, -HOUR_MS, HOUR_MS),
      limit: fc.integer({ min: 1, max: 6 }),
    }),
  },
);

let redis: TestRedis;
let shards: Shards;
before(async () => {
  redis = await startRedis();
  shards = await connectShards(redis.url);
});
after(async () => {
  shards?.close();
  await redis?.stop();
});

let saleCount = 0;

test('random sequences of buys, stock loads and changes end as a plain model says', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const saleId = `model-${++saleCount}`;
      const definition: SaleDefinition = {
        saleId,
        name: 'a sale',
        currency: 'EUR',
        status: 'open',
        startsAt: null,
        endsAt: null,
        perBuyerLimit: 3,
        holdSeconds: 300,
        skus: SKUS.map((sku, index) => ({ sku, name: sku, price: 100 + index })),
      };
      const model = new SaleModel(definition);
      let operation = 0;
      const operate = async (next: SaleDefinition, changes: StockChange[]) => {
        const reply = await shards.call(applyOperation, saleId, {
          operation: ++operation,
          definition: next,
          changes,
        });
        assert.equal(reply.outcome, model.apply(next, changes));
        // Asked again, as after a crash, it answers the same and changes nothing.
        const again = await shards.call(applyOperation, saleId, {
          operation,
          definition: next,
          changes,
        });
        assert.deepEqual(again, reply);
      };
      await operate(definition, [
        { sku: 'A', delta: 3 },
        { sku: 'B', delta: 1 },
      ]);

      for (const [index, each] of steps.entries()) {
        if (each.do === 'buy') await buyAndCompare(saleId, model, each.presses, index);
        else if (each.do === 'stock') await operate(model.definition, each.changes);
        else {
          const now = Date.now();
          await operate(
            {
              ...model.definition,
              status: each.status,
              startsAt: each.startsIn === null ? null : now + each.startsIn,
              endsAt: each.endsIn === null ? null : now + each.endsIn,
              perBuyerLimit: each.limit,
            },
            [],
          );
        }
        await compareStock(saleId, model);
      }
      await compareRecords(saleId, model);
    }),
    { numRuns: Number(process.env.MODEL_RUNS ?? 300) },
  );
});

async function buyAndCompare(saleId: string, model: SaleModel, presses: Press[], index: number) {
  const replies = await shards.call(reserve, saleId, {
    tag: `t${String(index).padStart(7, '0')}`,
    backlogMax: 1_000_000,
    requests: presses.map(({ buyerId, key, items }) => ({
      buyerId,
      idempotencyKey: key,
      items: canonicalItems(items),
      requestId: 'r',
      traceparent: '',
    })),
  });
  for (const [i, { buyerId, key, items }] of presses.entries()) {
    const expected = model.buy(buyerId, key, items, Date.now());
    const actual = replies[i]!;
    assert.equal(actual.outcome, expected.outcome, `press ${i} of step ${index}`);
    if ('record' in actual && 'reservation' in expected) {
      const record = parseRecord(actual.record, { saleId, currency: 'EUR' }, buyerId);
      assert.equal(record.position, expected.reservation.position);
      assert.equal(canonicalItems(record.items), canonicalItems(expected.reservation.items));
      assert.equal(record.expiresAt - record.reservedAt, 300_000);
    }
  }
}

async function compareStock(saleId: string, model: SaleModel) {
  const reply = await shards.call(readSale, saleId, saleId);
  if (reply.outcome !== 'known') assert.fail(reply.outcome);
  const { state } = reply;
  assert.deepEqual(state.stock, [...model.stock.values()]);
  for (const { loaded, remaining, held, confirmed } of state.stock) {
    assert.equal(loaded, remaining + held + confirmed);
  }
  assert.equal(state.position, model.reservations.length);
  assert.equal(state.events, model.reservations.length);
}

/** Every place that remembers a reservation remembers the same ones. */
async function compareRecords(saleId: string, model: SaleModel) {
  const client = shards.of(saleId).client;
  const expected = model.reservations.map(
    ({ buyerId, key, items, position }) => [position, buyerId, key, canonicalItems(items)] as const,
  );

  const entries = await client.xrange(saleKey(saleId, 'events'), '-', '+');
  const events = entries.flatMap(([, fields]) => {
    const lines = fields[fields.indexOf('d') + 1]!.split('\n');
    return lines.map((line) => parseEvent(line, { saleId, currency: 'EUR' }));
  });
  assert.deepEqual(
    events.map((event) => [
      event.position,
      event.buyerId,
      event.idempotencyKey,
      canonicalItems(event.items),
    ]),
    expected,
  );

  assert.deepEqual(
    await client.lrange(saleKey(saleId, 'order'), 0, -1),
    model.reservations.map(({ buyerId }) => buyerId),
  );

  const stored: [position: number, ...rest: string[]][] = [];
  for (const buyerId of BUYERS) {
    const reply = await shards.call(readBuyer, saleId, saleId, buyerId);
    if (reply.outcome !== 'known') assert.fail(reply.outcome);
    for (const each of reply.reservations) {
      stored.push([each.position, buyerId, each.idempotencyKey, canonicalItems(each.items)]);
    }
  }
  assert.deepEqual(
    stored.sort((a, b) => a[0] - b[0]),
    expected,
  );

  const held = await client.zrange(saleKey(saleId, 'holds'), '0', '-1');
  const positions = held.flatMap((range) => {
    const [first, last] = range.split('-').map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
  assert.deepEqual(
    positions.sort((a, b) => a - b),
    expected.map(([position]) => position),
  );
}
