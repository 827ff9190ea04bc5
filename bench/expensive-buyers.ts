/**
 * The most expensive requests that single buyers can prepare, against ordinary ones of the same kind. Prepared buyers have
 * as many reservations as one can have, living and ended, each of another basket of the longest names, with the longest
 * key. Ordinary and prepared requests alternate, so that both meet the same machine, and medians are compared.
 *
 * One buyer has one request at a time, so requests are compared in calls of their own. Many such buyers together can fill
 * the calls of a batcher, which show how long Redis serves nobody else.
 */
import type { Redis } from 'ioredis';
import { openSale, type TestSale } from '../harness/sales/sales.ts';
import type { Connections } from '../harness/servers/connections.ts';
import { LIVING_RESERVATIONS_MAX, newTag, parseReservationId } from '../src/domain/identifiers.ts';
import type { Reservation } from '../src/domain/reservation.ts';
import { canonicalItems, parseRecord } from '../src/domain/reservation-codec.ts';
import { costOf } from '../src/hot-path/buy/batcher.ts';
import { joinWaitlist } from '../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../src/lua/buy/leave-waitlist.ts';
import { type ReserveRequest, reserve } from '../src/lua/buy/reserve.ts';
import { transition } from '../src/lua/buy/transition.ts';
import { readBuyer } from '../src/lua/read/read-buyer.ts';
import type { Shards } from '../src/redis/shards.ts';
import { measureRedis } from './measure/redis-cpu.ts';

const BATCH = 128;
const ENDED = 20;
const SKUS = 100;
const BASKET = 10;
const UNITS = 100_000_000;

/** Redis' processor time: medians. */
interface Comparison {
  preparedMicros: number;
  ordinaryMicros: number;
  ratio: number;
}

export interface Cost {
  kind: string;
  /** One request in a call of its own. */
  alone: Comparison;
  /** One request in a full call of a batcher, and the call itself. Undefined: these are never batched. */
  batched: (Comparison & { callMicros: number; longestCallMicros: number }) | undefined;
}

interface Kind {
  kind: string;
  isBatched?: true;
  ordinary: () => Promise<unknown>;
  prepared: () => Promise<unknown>;
  /** Not measured. */
  before?: () => Promise<unknown>;
  after?: () => Promise<unknown>;
}

type Purchase = Partial<ReserveRequest> & Pick<ReserveRequest, 'buyerId' | 'items'>;

const skuName = (index: number) => `${'s'.repeat(37)}${String(index % SKUS).padStart(3, '0')}`;
const keyOf = (text: string) => text.padEnd(64, 'k');
const ONE = `${skuName(0)}*1`;
const BUYERS = Array.from({ length: BATCH }, (_, index) => `prepared-${index}`);

/** Buyers of a batch, and rounds of a buyer, have different baskets. */
function largestBasket(buyer: number, round: number): string {
  const stride = [1, 3, 7, 9, 11, 13, 17, 19][round % 8]!;
  return canonicalItems(
    Array.from({ length: BASKET }, (_, item) => ({
      sku: skuName(buyer + item * stride),
      quantity: 1,
    })),
  );
}

/** One sale and its buyers. */
class Shop {
  readonly #shards: Shards;
  readonly #sale: TestSale;
  #count = 0;
  /** As many as a batcher takes, or one. */
  isBatching = true;
  /** Around each call. */
  around = <T>(call: () => Promise<T>): Promise<T> => call();

  constructor(shards: Shards, sale: TestSale) {
    this.#shards = shards;
    this.#sale = sale;
  }

  /** Returns what was reserved. All baskets have the same number of items. */
  async buy(purchases: readonly Purchase[]): Promise<Reservation[]> {
    const { saleId } = this.#sale;
    const itemCount = purchases[0]!.items.split(',').length;
    const size = this.isBatching ? Math.floor(BATCH / costOf({ itemCount })) : 1;
    if (purchases.length > size) {
      return [
        ...(await this.buy(purchases.slice(0, size))),
        ...(await this.buy(purchases.slice(size))),
      ];
    }
    const outcomes = await this.around(() =>
      this.#shards.call(reserve, saleId, {
        tag: newTag(),
        backlogMax: Number.MAX_SAFE_INTEGER,
        requests: purchases.map((purchase) => ({
          idempotencyKey: '',
          requestId: '',
          traceparent: '',
          ...purchase,
        })),
      }),
    );
    return outcomes.flatMap((each, index) =>
      each.outcome === 'reserved'
        ? [parseRecord(each.record, { saleId, currency: 'EUR' }, purchases[index]!.buyerId)]
        : [],
    );
  }

  /** Buyers without history, one unit each. */
  buyOrdinary(): Promise<Reservation[]> {
    this.#count += 1;
    return this.buy(BUYERS.map((_, index) => ({ buyerId: `${this.#count}-${index}`, items: ONE })));
  }

  /** Each buyer the largest basket. */
  buyLargest(key: string, round: number, buyers = BUYERS): Promise<Reservation[]> {
    return this.buy(
      buyers.map((buyerId, index) => ({
        buyerId,
        items: largestBasket(index, round),
        idempotencyKey: key && keyOf(key),
      })),
    );
  }

  each(reservations: readonly Reservation[], name: 'confirm' | 'cancel' | 'give-back') {
    const { saleId } = this.#sale;
    return Promise.all(
      reservations.map(({ reservationId }) =>
        this.#shards.call(transition, saleId, {
          address: parseReservationId(reservationId)!,
          transition: name,
          detail: '',
          requestId: '',
          traceparent: '',
          tag: newTag(),
        }),
      ),
    );
  }

  /** Refunds begin no cool-down, so a buyer can have both the most living and the most ended reservations. */
  async refund(reservations: readonly Reservation[]): Promise<void> {
    await this.each(reservations, 'confirm');
    await this.each(reservations, 'cancel');
  }

  read(buyers: readonly string[]) {
    return Promise.all(
      buyers.map((buyerId) => this.#shards.call(readBuyer, this.#sale.saleId, buyerId)),
    );
  }

  async join(buyers: readonly string[]) {
    const request = { sku: 'none', quantity: 1 };
    const { saleId } = this.#sale;
    await Promise.all(
      buyers.map((buyerId) => this.#shards.call(joinWaitlist, saleId, { buyerId, ...request })),
    );
  }

  async leave(buyers: readonly string[]) {
    const { saleId } = this.#sale;
    await Promise.all(
      buyers.map((buyerId) => this.#shards.call(leaveWaitlist, saleId, { buyerId, tag: newTag() })),
    );
  }
}

export async function measureExpensiveBuyers(
  { shards }: Pick<Connections, 'shards'>,
  rounds: number,
  only?: string,
): Promise<Cost[]> {
  const stock = Object.fromEntries(
    Array.from({ length: SKUS }, (_, index) => [skuName(index), UNITS]),
  );
  const choices = { perBuyerLimit: 1_000_000 };
  const ordinary = new Shop(shards, await openSale(shards, { ...stock, none: 1 }, choices));
  const shop = new Shop(shards, await openSale(shards, { ...stock, none: 1 }, choices));
  for (const each of [ordinary, shop]) await each.buy([{ buyerId: 'last', items: 'none*1' }]);
  for (let round = 0; round < ENDED; round++) {
    await shop.refund(await shop.buyLargest(`ended-${round}`, round));
  }
  for (let round = 0; round < LIVING_RESERVATIONS_MAX - 1; round++) {
    await shop.buyLargest(`living-${round}`, round);
  }

  let round = 0;
  let some: Reservation[] = [];
  let last: Reservation[] = [];
  const buyLast = async () => {
    last = await shop.buyLargest(`last-${round}`, round);
  };
  const newcomers = () => BUYERS.map((_, index) => `newcomer-${round}-${index}`);
  const buyOrdinary = () => ordinary.buyOrdinary();
  const kinds: Kind[] = [
    {
      kind: 'buy the largest basket, without history',
      isBatched: true,
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest('first', round, newcomers()),
    },
    {
      kind: 'buy the largest basket, the fifth one',
      isBatched: true,
      before: async () => {
        for (let each = 0; each < 4; each++) {
          await shop.buyLargest(`before-${each}`, each, newcomers());
        }
      },
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest('fifth', 4, newcomers()),
    },
    {
      kind: 'buy the largest basket, the last possible one',
      isBatched: true,
      ordinary: buyOrdinary,
      prepared: buyLast,
      after: () => shop.refund(last),
    },
    {
      kind: 'give back the last possible one',
      before: async () => {
        some = await ordinary.buyOrdinary();
        await buyLast();
      },
      ordinary: () => ordinary.each(some, 'give-back'),
      prepared: () => shop.each(last, 'give-back'),
      // Otherwise a cool-down would begin, and the others would be refused.
      after: async () => shop.refund(await shop.buyLargest(`refunded-${round}`, round)),
    },
    {
      kind: 'buy one more than possible',
      isBatched: true,
      before: buyLast,
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest(`beyond-${round}`, round),
      after: () => shop.refund(last),
    },
    {
      kind: 'buy without a key, while all others have keys',
      isBatched: true,
      before: buyLast,
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest('', round),
      after: () => shop.refund(last),
    },
    {
      kind: 'repeat the oldest key',
      isBatched: true,
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest('ended-0', 0),
    },
    {
      kind: 'repeat the newest key',
      isBatched: true,
      ordinary: buyOrdinary,
      prepared: () => shop.buyLargest(`living-${LIVING_RESERVATIONS_MAX - 2}`, 2),
    },
    {
      kind: 'join a waitlist',
      ordinary: () => ordinary.join(newcomers()),
      prepared: () => shop.join(BUYERS),
      after: async () => {
        await ordinary.leave(newcomers());
        await shop.leave(BUYERS);
      },
    },
    {
      kind: "read one's own reservations",
      before: async () => {
        some = await ordinary.buyOrdinary();
      },
      ordinary: () => ordinary.read(some.map(({ buyerId }) => buyerId)),
      prepared: () => shop.read(BUYERS),
    },
  ];
  const measure = cpuMeter(shards.of('any').client, [ordinary, shop]);
  const costs: Cost[] = [];
  for (const kind of kinds) {
    if (only && !kind.kind.includes(only)) continue;
    const run = async (isBatched: boolean) => {
      const samples: Record<'ordinary' | 'prepared', Measured[]> = { ordinary: [], prepared: [] };
      for (let each = 0; each < rounds; each++) {
        round += 1;
        await kind.before?.();
        samples.ordinary.push(await measure(kind.ordinary, isBatched));
        samples.prepared.push(await measure(kind.prepared, isBatched));
        await kind.after?.();
      }
      return samples;
    };
    const alone = await run(false);
    const batched = kind.isBatched && (await run(true));
    const calls = batched?.prepared.flatMap(({ callMicros }) => callMicros) ?? [];
    costs.push({
      kind: kind.kind,
      alone: compare(alone),
      batched: batched && {
        ...compare(batched),
        callMicros: median(calls),
        longestCallMicros: Math.max(...calls),
      },
    });
  }
  return costs;
}

interface Measured {
  /** Per buyer. */
  micros: number;
  /** Of each call, if they were full ones. */
  callMicros: number[];
}

/** Measures Redis' processor time for the requests of all `BUYERS`. */
function cpuMeter(client: Redis, shops: readonly Shop[]) {
  return async (requests: () => Promise<unknown>, isBatched: boolean): Promise<Measured> => {
    const callMicros: number[] = [];
    let allMicros = 0;
    const timed = async <T>(call: () => Promise<T>): Promise<T> => {
      const usage = await measureRedis(client);
      const result = await call();
      const { cpuSeconds, scriptSeconds } = await usage();
      allMicros += cpuSeconds * 1e6;
      // The processor time includes what Redis does beside the script, and the script's time includes interruptions.
      callMicros.push(Math.min(cpuSeconds, scriptSeconds) * 1e6);
      return result;
    };
    for (const shop of shops) {
      shop.isBatching = isBatched;
      shop.around = isBatched ? timed : (call) => call();
    }
    const usage = await measureRedis(client);
    await requests();
    const { cpuSeconds } = await usage();
    for (const shop of shops) {
      shop.isBatching = true;
      shop.around = (call) => call();
    }
    const micros = isBatched ? allMicros : cpuSeconds * 1e6;
    return { micros: micros / BATCH, callMicros };
  };
}

function compare(samples: Record<'ordinary' | 'prepared', Measured[]>): Comparison {
  const [preparedMicros, ordinaryMicros] = [samples.prepared, samples.ordinary].map((measured) =>
    median(measured.map(({ micros }) => micros)),
  ) as [number, number];
  return { preparedMicros, ordinaryMicros, ratio: preparedMicros / ordinaryMicros };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
