import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import {
  type ModelEvent,
  type ModelReservation,
  SaleModel,
  statusOf,
} from '../../harness/sales/sale-model.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { parseEvents, wholeRecordsOf } from '../../harness/sales/whole-records.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { buyerIndexOf, isBuyerIndex } from '../../src/domain/buyer-index.ts';
import { unreachable } from '../../src/domain/fault.ts';
import type { Item, ReservationTransition } from '../../src/domain/reservation.ts';
import {
  canonicalItems,
  parseEvent,
  parseRecord,
  parseRecords,
} from '../../src/domain/reservation-codec.ts';
import { availableOf, type SaleDefinition, type SaleStatus } from '../../src/domain/sale.ts';
import { countEvents, wholeEventLines } from '../../src/domain/short-record.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../src/lua/buy/leave-waitlist.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type StockChange } from '../../src/lua/operate/apply-operation.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const HOUR_MS = 3_600_000;
const SKUS = ['A', 'B', 'C'];
const BUYERS = ['ada', 'bob', 'cyd', 'dan'];

interface Purchase {
  buyerId: string;
  key: string;
  items: Item[];
}

type Step =
  | { do: 'buy'; purchases: Purchase[] }
  | { do: 'stock'; changes: StockChange[] }
  | {
      do: 'define';
      status: SaleStatus;
      startsIn: number | null;
      endsIn: number | null;
      limit: number;
      skuLimits: Record<string, number | undefined>;
      holdSeconds: number;
      waitlistHoldSeconds: number | undefined;
    }
  | {
      do: 'transition';
      which: number;
      to: Exclude<ReservationTransition, 'expire'>;
      times: number;
      payment: string;
      isRestocked: boolean | undefined;
      /** Of a cancellation; undefined: of all that is left. */
      part: Item[] | undefined;
      key: string;
    }
  | { do: 'sweep'; most: number }
  | { do: 'join'; buyerId: string; sku: string; quantity: number }
  | { do: 'leave'; buyerId: string }
  /** Holds and releases until the cool-down, or nearly. */
  | { do: 'loop'; buyerId: string; rounds: number };

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
const purchase: fc.Arbitrary<Purchase> = fc.record({
  buyerId: fc.constantFrom(...BUYERS),
  key: fc.constantFrom('', '', 'k1', 'k2', 'k3'),
  items: basket,
});
/** Mostly the first value: a closed sale exercises little, and one that has ended stays so. */
function rarely<T>(usual: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 19, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('buy' as const),
      purchases: fc.array(purchase, { minLength: 1, maxLength: 8 }),
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
      status: rarely<SaleStatus>('open', 'paused', 'draft', 'ended'),
      startsIn: rarely<number | null>(null, -HOUR_MS, HOUR_MS),
      endsIn: rarely<number | null>(null, -HOUR_MS, HOUR_MS),
      limit: fc.integer({ min: 1, max: 8 }),
      skuLimits: fc.dictionary(fc.constantFrom(...SKUS), fc.integer({ min: 1, max: 4 })),
      // Holds that expire at once, or not during this test.
      holdSeconds: fc.constantFrom(0, 0, 300),
      waitlistHoldSeconds: fc.constantFrom(undefined, 0, 300),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('transition' as const),
      which: fc.nat(),
      to: fc.constantFrom(
        'confirm',
        'confirm',
        'cancel',
        'cancel',
        'give-back',
        'extend',
        'attach',
        'reclaim',
        'reclaim',
      ),
      isRestocked: fc.constantFrom(true, true, false, undefined),
      part: fc.option(basket, { nil: undefined, freq: 3 }),
      key: fc.constantFrom('', '', 'part/1', 'part/2'),
      payment: fc.constantFrom('', 'pay%1', 'pay 2'),
      times: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('sweep' as const),
      most: fc.integer({ min: 1, max: 8 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('join' as const),
      buyerId: fc.constantFrom(...BUYERS),
      sku: fc.constantFrom(...SKUS, ...SKUS, 'unknown'),
      quantity: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('leave' as const),
      buyerId: fc.constantFrom(...BUYERS),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('loop' as const),
      buyerId: fc.constantFrom(...BUYERS),
      rounds: fc.constantFrom(2, 22),
    }),
  },
);

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

let saleCount = 0;

test('random sequences of purchases, transitions, sweeps, waitlist calls and sale operations match a reference model', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 1, maxLength: 60, size: 'max' }),
      async (steps) => {
        const saleId = `model-${++saleCount}`;
        const definition: SaleDefinition = {
          saleId,
          name: 'a sale',
          currency: 'EUR',
          status: 'open',
          startsAt: null,
          endsAt: null,
          perBuyerLimit: 4,
          holdSeconds: 300,
          skus: SKUS.map((sku, index) => ({ sku, name: sku, price: 100 + index })),
        };
        const model = new SaleModel(definition);
        let operation = 0;
        const operate = async (next: SaleDefinition, changes: StockChange[]) => {
          const reply = await shards.call(applyOperation, saleId, {
            operation: ++operation,
            timeline: 0,
            definition: next,
            changes,
          });
          assert.equal(reply.outcome, model.apply(next, changes));
          if ('startsAt' in reply) assert.equal(reply.startsAt, model.definition.startsAt);
          // Repeated, as after a crash, it returns the same and changes nothing.
          const again = await shards.call(applyOperation, saleId, {
            operation,
            timeline: 0,
            definition: next,
            changes,
          });
          assert.deepEqual(again, reply);
        };
        await operate(definition, [
          { sku: 'A', delta: 3 },
          { sku: 'B', delta: 1 },
        ]);

        const tagOf = (index: number) => `t${String(index).padStart(7, '0')}`;
        for (const [index, each] of steps.entries()) {
          const tag = tagOf(index);
          switch (each.do) {
            case 'buy':
              await buyAndCompare(saleId, model, each.purchases, tag);
              break;
            case 'stock':
              await operate(model.definition, each.changes);
              break;
            case 'define':
              await operate(definitionAfter(model.definition, each), []);
              break;
            case 'transition':
              await transitionAndCompare(saleId, model, each, tag);
              break;
            case 'sweep':
              await sweepAll(saleId, each.most, tag);
              // A hold from a waitlist may be due at once, and serving one waitlist may unblock another.
              for (let earlier = -1; earlier !== model.changes; ) {
                earlier = model.changes;
                model.sweep(Date.now(), tag);
              }
              await assertFreeUnitsAreOnSale(saleId, model);
              break;
            case 'join': {
              const reply = await shards.call(joinWaitlist, saleId, each);
              const [outcome, number] = model.join(
                each.buyerId,
                each.sku,
                each.quantity,
                Date.now(),
              );
              assert.equal(reply.outcome, outcome);
              if ('place' in reply) assert.equal(reply.place, number);
              if ('remaining' in reply) assert.equal(reply.remaining, number);
              break;
            }
            case 'leave': {
              const reply = await shards.call(leaveWaitlist, saleId, {
                buyerId: each.buyerId,
                tag,
              });
              assert.deepEqual(reply, {
                outcome: 'left',
                count: model.leave(each.buyerId, Date.now(), tag),
              });
              break;
            }
            case 'loop':
              for (let round = 0; round < each.rounds; round++) {
                const items = [{ sku: 'A', quantity: 1 }];
                const key = `loop-${index}-${round}`;
                await buyAndCompare(saleId, model, [{ buyerId: each.buyerId, key, items }], tag);
                const which = model.reservations.length - 1;
                const release = {
                  do: 'transition',
                  which,
                  to: 'give-back',
                  times: 1,
                  payment: '',
                  isRestocked: true,
                  part: undefined,
                  key: '',
                } as const;
                if (which >= 0) await transitionAndCompare(saleId, model, release, tag);
              }
              break;
            default:
              unreachable(each);
          }
          await compareStock(saleId, model);
        }
        await compareRecords(saleId, model);
      },
    ),
    { numRuns: Number(process.env.MODEL_RUNS ?? (IS_LONG_RUN ? 400 : 80)) },
  );
});

function definitionAfter(
  definition: SaleDefinition,
  step: Extract<Step, { do: 'define' }>,
): SaleDefinition {
  const now = Date.now();
  const { waitlistHoldSeconds: _, ...rest } = definition;
  const { waitlistHoldSeconds } = step;
  return {
    ...rest,
    ...(waitlistHoldSeconds !== undefined && { waitlistHoldSeconds }),
    status: step.status,
    startsAt: step.startsIn === null ? null : now + step.startsIn,
    endsAt: step.endsIn === null ? null : now + step.endsIn,
    perBuyerLimit: step.limit,
    holdSeconds: step.holdSeconds,
    skus: definition.skus.map(({ sku, name, price }) => {
      const perBuyerLimit = step.skuLimits[sku];
      return { sku, name, price, ...(perBuyerLimit !== undefined && { perBuyerLimit }) };
    }),
  };
}

/** A repeated transition applies once. One by another buyer, or with another timeline's tag, does not apply. */
async function transitionAndCompare(
  saleId: string,
  model: SaleModel,
  step: Extract<Step, { do: 'transition' }>,
  tag: string,
) {
  const reservation = model.reservations[step.which % model.reservations.length];
  const { payment } = step;
  const isCancellation = step.to === 'cancel';
  const restock = isCancellation ? step.isRestocked : undefined;
  const items = isCancellation ? step.part : undefined;
  const idempotencyKey = isCancellation ? step.key : '';
  const request = {
    transition: step.to,
    detail: 'a reason',
    payment,
    ...(restock !== undefined && { restock }),
    ...(items !== undefined && { items }),
    idempotencyKey,
    requestId: 'r',
    traceparent: '',
    tag,
  };
  const { position, tag: ownTag } = reservation ?? { position: 1, tag: 'nobodys1' };
  const address = { saleId, position, tag: ownTag };
  if (!reservation) {
    const reply = await shards.call(transition, saleId, { ...request, address });
    assert.equal(reply.outcome, 'unknown_reservation');
    return;
  }
  for (const wrong of [
    { ...request, address: { ...address, tag: 'another1' } },
    { ...request, address, buyerId: 'stranger' },
  ]) {
    assert.equal((await shards.call(transition, saleId, wrong)).outcome, 'unknown_reservation');
  }
  for (let time = 0; time < step.times; time++) {
    const reply = await shards.call(transition, saleId, { ...request, address });
    const expected = model.transition(reservation, step.to, Date.now(), tag, {
      payment,
      ...(restock !== undefined && { restock }),
      ...(items !== undefined && { items }),
      key: idempotencyKey,
    });
    assert.equal(reply.outcome, expected);
    if (reply.outcome === 'conflict') assert.equal(reply.paymentRef, reservation.payment);
    if ('reservation' in reply) assert.equal(reply.reservation.version, reservation.version);
  }
}

/** Whatever waits, was left behind or was changed before: after a sweep, every free unit of an open sale is on sale. */
async function assertFreeUnitsAreOnSale(saleId: string, model: SaleModel) {
  if (model.closed(Date.now()) !== undefined) return;
  for (const stock of (await saleState(shards, saleId)).stock) {
    assert.equal(availableOf(stock), stock.remaining, stock.sku);
  }
}

async function sweepAll(saleId: string, most: number, tag: string) {
  for (;;) {
    const reply = await shards.call(sweep, saleId, { most, tag });
    if (reply.outcome !== 'swept') assert.fail(reply.outcome);
    if (reply.expired === 0 && reply.served === 0 && reply.nextDueMs !== 0) return;
  }
}

async function buyAndCompare(saleId: string, model: SaleModel, purchases: Purchase[], tag: string) {
  const replies = await shards.call(reserve, saleId, {
    tag,
    backlogMax: 1_000_000,
    requests: purchases.map(({ buyerId, key, items }) => ({
      buyerId,
      idempotencyKey: key,
      items: canonicalItems(items),
      requestId: 'r',
      traceparent: '',
    })),
  });
  const { hasDueHolds } = model;
  for (const [i, wanted] of purchases.entries()) {
    const { buyerId } = wanted;
    const expected = model.buy(wanted, { nowMs: Date.now(), tag, hasDueHolds });
    const actual = replies[i]!;
    assert.equal(actual.outcome, expected.outcome, `purchase ${i} of ${tag}`);
    if ('details' in expected) {
      assert.deepEqual(actual, { outcome: expected.outcome, ...expected.details });
    }
    if ('record' in actual && 'reservation' in expected) {
      const record = parseRecord(actual.record, { saleId, currency: 'EUR' }, buyerId);
      assert.equal(record.position, expected.reservation.position);
      assert.equal(canonicalItems(record.items), storedItems(expected.reservation));
    }
  }
}

async function compareStock(saleId: string, model: SaleModel) {
  const reply = await shards.call(readSale, saleId);
  if (reply.outcome !== 'known') assert.fail(reply.outcome);
  const { state } = reply;
  assert.deepEqual(state.stock, [...model.stock.values()]);
  for (const { loaded, remaining, held, confirmed } of state.stock) {
    assert.equal(loaded, remaining + held + confirmed);
  }
  assert.equal(state.position, model.reservations.length);
  assert.equal(state.events, model.events.length);
}

/** The units that are left, and those that were bought. */
function storedItems({ items, bought }: ModelReservation): string {
  return canonicalItems(
    items.map(({ sku, quantity }, index) => ({
      sku,
      quantity,
      cancelled: bought[index]!.quantity - quantity,
    })),
  );
}

function ticketText(ticket: number): string {
  return String(ticket).padStart(12, '0');
}

/** Every structure in Redis has the same reservations. */
async function compareRecords(saleId: string, model: SaleModel) {
  const client = shards.of(saleId).client;
  const expected = model.reservations.map((each) => {
    const { buyerId, key, position, letter, version } = each;
    return [position, buyerId, key, storedItems(each), statusOf(letter), version] as const;
  });

  const entries = await client.xrange(saleKey(saleId, 'events'), '-', '+');
  const events = entries.flatMap(([, fields]) => {
    const text = fields[fields.indexOf('d') + 1]!;
    const parsed = parseEvents(text, { saleId, currency: 'EUR' });
    const whole = wholeEventLines(text).map((line) =>
      parseEvent(line, { saleId, currency: 'EUR' }),
    );
    assert.deepEqual(parsed, whole);
    assert.equal(countEvents(text), parsed.length);
    return parsed;
  });
  // Holds that expire in the same millisecond may expire in any order.
  const byPosition = (a: ModelEvent, b: ModelEvent) =>
    a.position - b.position || a.version - b.version;
  assert.deepEqual(
    events
      .map(({ position, buyerId, status, version }) => ({ position, buyerId, status, version }))
      .sort(byPosition),
    [...model.events].sort(byPosition),
  );

  assert.deepEqual(
    await client.lrange(saleKey(saleId, 'order'), 0, -1),
    model.reservations.map(({ buyerId }) => buyerId),
  );

  const past = await client.hgetall(saleKey(saleId, 'past'));
  const buyers = await wholeRecordsOf(client, saleId);
  const stored: [position: number, ...rest: (string | number)[]][] = [];
  for (const buyerId of BUYERS) {
    // As stored: a query shows a hold past its deadline as expired.
    const records = buyers[buyerId] ?? '';
    const isIndexed = isBuyerIndex(records);
    const texts = isIndexed
      ? Object.entries(past).flatMap(([field, text]) => {
          const [owner, position, end] = field.split('\t');
          return owner === buyerId && position !== '' && end === '' ? [text] : [];
        })
      : [records];
    const own = texts.flatMap((text) => parseRecords(text, { saleId, currency: 'EUR' }, buyerId));
    // The list of ended reservations gets no older one in the place of one that was reclaimed.
    const isReclaimed = own.some(({ status, version }) =>
      status === 'confirmed' ? version > 2 : version > 3,
    );
    if (isIndexed && !isReclaimed) assert.equal(records, buyerIndexOf(own));
    for (const each of own) {
      const { idempotencyKey: key } = each;
      if (isIndexed && key !== '' && !key.includes(' ')) {
        assert.equal(past[`${buyerId}\t\t${key}`], String(each.position));
      }
      const { position, idempotencyKey, items, status, version } = each;
      stored.push([position, buyerId, idempotencyKey, canonicalItems(items), status, version]);
    }
  }
  assert.deepEqual(
    stored.sort((a, b) => a[0] - b[0]),
    expected,
  );

  // Every hold has a deadline at which the sweep checks it.
  const swept = new Set<number>();
  for (const range of await client.zrange(saleKey(saleId, 'holds'), '0', '-1')) {
    const [first, last] = range.split('-').map(Number);
    for (let position = first!; position <= last!; position++) swept.add(position);
  }
  for (const { letter, position } of model.reservations) {
    if (letter === 'R' || letter === 'P') assert.ok(swept.has(position), `position ${position}`);
  }

  assert.deepEqual(
    await client.zrange(saleKey(saleId, 'line'), '0', '-1'),
    model.waitlist
      .map(({ sku, ticket, buyerId, quantity }) =>
        [sku, ticketText(ticket), buyerId, quantity].join('\t'),
      )
      .sort(),
  );
  assert.deepEqual(
    await client.zrange(saleKey(saleId, 'lineByQuantity'), '0', '-1'),
    model.waitlist
      .map(({ sku, ticket, buyerId, quantity }) =>
        [sku, String(quantity).padStart(3, '0'), ticketText(ticket), buyerId].join('\t'),
      )
      .sort(),
  );
  assert.equal(await client.hlen(saleKey(saleId, 'waiting')), model.waitlist.length);
}
