/** Whole records and parsed events, whether or not Redis has them in the short form. */
import type { Redis } from 'ioredis';
import type { ReservationEvent } from '../../src/domain/reservation.ts';
import { parseEvent, type Sale } from '../../src/domain/reservation-codec.ts';
import { splitEntry } from '../../src/domain/short-record.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { BatchTerms } from '../../src/redis/batch-terms.ts';

/** The events in the text of an entry. */
export function parseEvents(text: string, sale: Sale): ReservationEvent[] {
  const { lines, batch } = splitEntry(text);
  const whole = lines.map((line) => parseEvent(line, sale));
  return [...whole, ...(batch?.lines.map((_, place) => batch.eventOf(place, sale)) ?? [])];
}

type Client = Pick<Redis, 'hget' | 'hgetall' | 'hmget' | 'hset'>;

/** By buyer. */
export async function wholeRecordsOf(
  client: Client,
  saleId: string,
): Promise<Record<string, string>> {
  const fields = await client.hgetall(saleKey(saleId, 'buyers'));
  const terms = new BatchTerms(client, saleId);
  await terms.load(Object.values(fields));
  return Object.fromEntries(
    Object.entries(fields).map(([buyerId, field]) => [buyerId, terms.whole(field)]),
  );
}

/** Stores the whole record of a buyer in place of the short one, and returns it; empty: there is none. */
export async function makeWhole(client: Client, saleId: string, buyerId: string): Promise<string> {
  const key = saleKey(saleId, 'buyers');
  const field = await client.hget(key, buyerId);
  if (field === null) return '';
  const terms = new BatchTerms(client, saleId);
  await terms.load([field]);
  const whole = terms.whole(field);
  await client.hset(key, buyerId, whole);
  return whole;
}
