/** A sale's state and event stream in Redis: reads them, and appends entries that no script would write. */
import { PERSISTER_GROUP, saleKey } from '../../src/lua/keys.ts';
import { readSale, type SaleState } from '../../src/lua/read/read-sale.ts';
import type { Shards } from '../../src/redis/shards.ts';

export async function saleState(shards: Shards, saleId: string): Promise<SaleState> {
  const reply = await shards.call(readSale, saleId);
  if (reply.outcome === 'unknown_sale') throw new Error(`Redis does not have the sale ${saleId}`);
  return reply.state;
}

/** Entries that some consumer has read and not acknowledged. */
export async function pendingCount(shards: Shards, saleId: string): Promise<number> {
  const key = saleKey(saleId, 'events');
  const summary = await shards.of(saleId).client.xpending(key, PERSISTER_GROUP);
  return Number(summary[0]);
}

export async function entryIds(shards: Shards, saleId: string): Promise<string[]> {
  const entries = await shards.of(saleId).client.xrange(saleKey(saleId, 'events'), '-', '+');
  return entries.map(([id]) => id);
}

export async function consumerNames(shards: Shards, saleId: string): Promise<string[]> {
  const key = saleKey(saleId, 'events');
  const consumers = await shards.of(saleId).client.xinfo('CONSUMERS', key, PERSISTER_GROUP);
  return (consumers as string[][]).map((consumer) => String(consumer[1]));
}

/** Reads `count` entries as a consumer that never acknowledges them. Returns their ids. */
export async function readAndAbandon(
  shards: Shards,
  saleId: string,
  count: number,
): Promise<string[]> {
  const { client } = shards.of(saleId);
  const key = saleKey(saleId, 'events');
  await client.xgroup('CREATE', key, PERSISTER_GROUP, '0', 'MKSTREAM').catch(() => undefined);
  const reply = await client.xreadgroup(
    'GROUP',
    PERSISTER_GROUP,
    'abandoned',
    'COUNT',
    count,
    'STREAMS',
    key,
    '>',
  );
  return (reply?.[0]?.[1] ?? []).map(([id]) => id);
}

/** A reservation's record, as `reserve` returns it, and its buyer. */
export interface Bought {
  buyerId: string;
  record: string;
}

/** Appends the entry of a transition: the reservation's next version with another status. */
export async function appendTransition(
  shards: Shards,
  saleId: string,
  bought: Bought,
  choices: { status: 'C' | 'X' | 'E'; version?: number; detail?: string },
): Promise<string> {
  const [, , ...rest] = bought.record.split('\t');
  const line = [
    String(choices.version ?? 2),
    choices.status,
    ...rest,
    bought.buyerId,
    String(Date.now()),
    encodeURIComponent(choices.detail ?? 'by test'),
    'request-of-transition',
    '',
  ].join('\t');
  return appendEntry(shards, saleId, { v: '1', c: 'EUR', d: line });
}

/** Appends any entry, numbered as the sale's next event. Returns its id. */
export async function appendEntry(
  shards: Shards,
  saleId: string,
  fields: Record<string, string>,
): Promise<string> {
  const { client } = shards.of(saleId);
  const number = await client.hincrby(saleKey(saleId, 'sale'), 'events', 1);
  const all = { s: String(number), ...fields };
  const entryId = await client.xadd(saleKey(saleId, 'events'), '*', ...Object.entries(all).flat());
  return String(entryId);
}
