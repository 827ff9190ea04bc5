/**
 * The most expensive requests that single buyers can prepare, against ordinary ones. Each buyer of a full batch has as
 * many reservations as one can have, living and ended, each of the longest basket and with the longest key.
 */

import { openSale, type TestSale } from '../harness/sales/sales.ts';
import type { Connections } from '../harness/servers/connections.ts';
import { LIVING_RESERVATIONS_MAX, newTag } from '../src/domain/identifiers.ts';
import { canonicalItems, parseRecord } from '../src/domain/reservation-codec.ts';
import { type ReserveOutcome, type ReserveRequest, reserve } from '../src/lua/buy/reserve.ts';
import { transition } from '../src/lua/buy/transition.ts';
import type { Shards } from '../src/redis/shards.ts';
import { measureRedis } from './measure/redis-cpu.ts';

const BATCH = 128;
const ENDED = 20;
const SKUS = 100;
const BASKET = 10;
const UNITS = 100_000_000;

export interface Cost {
  kind: string;
  /** Redis' processor time per request. */
  cpuMicros: number;
  ratio: number;
  longestCallMicros: number;
}

const skuName = (index: number) => `${'s'.repeat(37)}${String(index % SKUS).padStart(3, '0')}`;
const keyOf = (text: string) => text.padEnd(64, 'k');
const basketOf = (from: number) =>
  canonicalItems(
    Array.from({ length: BASKET }, (_, item) => ({ sku: skuName(from + item), quantity: 1 })),
  );

export async function measureExpensiveBuyers(
  { shards }: Pick<Connections, 'shards'>,
  rounds: number,
): Promise<Cost[]> {
  const stock = Object.fromEntries(
    Array.from({ length: SKUS }, (_, index) => [skuName(index), UNITS]),
  );
  const sale = await openSale(shards, stock, { perBuyerLimit: 1_000_000 });
  const attackers = Array.from({ length: BATCH }, (_, index) => `attacker-${index}`);
  await prepare(shards, sale, attackers);
  const buyers = await openSale(shards, stock);
  let fresh = 0;
  const ordinary = await costOf(shards, rounds, () =>
    send(
      shards,
      buyers,
      attackers.map(() => ({ buyerId: `buyer-${++fresh}`, items: `${skuName(0)}*1` })),
    ),
  );
  const kinds: [
    kind: string,
    request: (buyer: string, index: number) => Partial<ReserveRequest>,
  ][] = [
    [
      'a new key at the bound of living reservations',
      (_, index) => ({ idempotencyKey: keyOf(`new-${index}`), items: basketOf(index) }),
    ],
    ['no key, all with keys', (_, index) => ({ items: basketOf(index) })],
    [
      'a repeat of the newest key',
      (_, index) => ({
        idempotencyKey: keyOf(`living-${LIVING_RESERVATIONS_MAX}`),
        items: basketOf(index),
      }),
    ],
    [
      'a repeat of the oldest key, which is in the past',
      (_, index) => ({ idempotencyKey: keyOf('ended-1'), items: basketOf(index) }),
    ],
  ];
  const costs: Cost[] = [{ kind: 'ordinary', ratio: 1, ...ordinary }];
  for (const [kind, request] of kinds) {
    const requests = attackers.map((buyerId, index) => ({ buyerId, ...request(buyerId, index) }));
    const cost = await costOf(shards, rounds, () => send(shards, sale, requests));
    costs.push({ kind, ...cost, ratio: cost.cpuMicros / ordinary.cpuMicros });
  }
  return costs;
}

/** Refunds begin no cool-down, so a buyer can have both the most living and the most ended reservations. */
async function prepare(shards: Shards, sale: TestSale, attackers: string[]): Promise<void> {
  for (let round = 1; round <= ENDED + 2; round++) {
    const outcomes = await send(
      shards,
      sale,
      attackers.map((buyerId, index) => ({
        buyerId,
        idempotencyKey: keyOf(`ended-${round}`),
        items: basketOf(index),
      })),
    );
    for (const [index, outcome] of outcomes.entries()) {
      if (!('record' in outcome)) throw new Error(outcome.outcome);
      const { saleId } = sale;
      const record = parseRecord(outcome.record, { saleId, currency: 'EUR' }, attackers[index]!);
      const [, position, tag] = record.reservationId.split('_');
      const address = { saleId, position: Number(position), tag: tag! };
      const request = { address, detail: '', requestId: '', traceparent: '', tag: newTag() };
      await shards.call(transition, saleId, { ...request, transition: 'confirm' });
      await shards.call(transition, saleId, { ...request, transition: 'cancel' });
    }
  }
  for (let number = 1; number <= LIVING_RESERVATIONS_MAX; number++) {
    await send(
      shards,
      sale,
      attackers.map((buyerId, index) => ({
        buyerId,
        idempotencyKey: keyOf(`living-${number}`),
        items: basketOf(index),
      })),
    );
  }
}

function send(
  shards: Shards,
  { saleId }: TestSale,
  requests: Partial<ReserveRequest>[],
): Promise<ReserveOutcome[]> {
  const defaults = { buyerId: '', idempotencyKey: '', items: '', requestId: '', traceparent: '' };
  return shards.call(reserve, saleId, {
    tag: newTag(),
    backlogMax: Number.MAX_SAFE_INTEGER,
    requests: requests.map((request) => ({ ...defaults, ...request })),
  });
}

async function costOf(
  shards: Shards,
  rounds: number,
  call: () => Promise<unknown>,
): Promise<{ cpuMicros: number; longestCallMicros: number }> {
  const { client } = shards.of('any');
  await call();
  await client.config('SET', 'slowlog-log-slower-than', '0');
  await client.config('SET', 'slowlog-max-len', String(2 * rounds));
  await client.call('SLOWLOG', 'RESET');
  const usage = await measureRedis(client);
  for (let round = 0; round < rounds; round++) await call();
  const { cpuSeconds } = await usage();
  const entries = (await client.call('SLOWLOG', 'GET', '-1')) as [
    number,
    number,
    number,
    string[],
  ][];
  const calls = entries.filter(([, , , [command]]) => /^evalsha$/i.test(command ?? ''));
  return {
    cpuMicros: (cpuSeconds / rounds / BATCH) * 1e6,
    longestCallMicros: Math.max(...calls.map(([, , micros]) => micros)),
  };
}
