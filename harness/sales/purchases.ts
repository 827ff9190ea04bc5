/** Purchases by a direct call of `reserve`, without a hot path. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Reservation } from '../../src/domain/reservation.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import { type ReserveOutcome, type ReserveRequest, reserve } from '../../src/lua/buy/reserve.ts';
import type { Shards } from '../../src/redis/shards.ts';

/** One call of `reserve`, therefore one stream entry, with one unit for each buyer, or the same basket. */
export async function buy(
  shards: Shards,
  saleId: string,
  buyerIds: readonly string[],
  items = 'unit*1',
): Promise<ReserveOutcome[]> {
  const requests: ReserveRequest[] = buyerIds.map((buyerId) => ({
    buyerId,
    idempotencyKey: '',
    items,
    requestId: `request-of-${buyerId}`,
    traceparent: '',
  }));
  const batch = { tag: randomBytes(4).toString('hex'), backlogMax: 2_000_000, requests };
  return shards.call(reserve, saleId, batch);
}

/** Purchases of `count` different buyers, `batchSize` a call. Fails unless each buyer gets a unit. */
export async function buyMany(
  shards: Shards,
  saleId: string,
  choices: { count: number; batchSize: number; prefix?: string },
): Promise<string[]> {
  const buyerIds = Array.from(
    { length: choices.count },
    (_, index) => `${choices.prefix ?? 'buyer'}-${index + 1}`,
  );
  for (let from = 0; from < buyerIds.length; from += choices.batchSize) {
    const batch = buyerIds.slice(from, from + choices.batchSize);
    for (const { outcome } of await buy(shards, saleId, batch)) {
      if (outcome !== 'reserved') throw new Error(`the outcome of a purchase was ${outcome}`);
    }
  }
  return buyerIds;
}

/** As `buy`, but returns the reservations. Fails unless each buyer gets one. */
export async function hold(
  shards: Shards,
  saleId: string,
  buyerIds: readonly string[],
  items?: string,
): Promise<Reservation[]> {
  const outcomes = await buy(shards, saleId, buyerIds, items);
  return outcomes.map((outcome, index) => {
    assert.equal(outcome.outcome, 'reserved');
    const record = 'record' in outcome ? outcome.record : '';
    return parseRecord(record, { saleId, currency: 'EUR' }, buyerIds[index]!);
  });
}

/** As `buyMany`, but returns the reservations. */
export async function holdMany(
  shards: Shards,
  saleId: string,
  choices: { count: number; batchSize: number },
): Promise<Reservation[]> {
  const held: Reservation[] = [];
  while (held.length < choices.count) {
    const size = Math.min(choices.batchSize, choices.count - held.length);
    const from = held.length;
    const buyerIds = Array.from({ length: size }, (_, index) => `buyer-${from + index + 1}`);
    held.push(...(await hold(shards, saleId, buyerIds)));
  }
  return held;
}
