/** What a sale's stream looks like from outside, for tests that ask what is still in it and who has it. */
import { PERSISTER_GROUP, saleKey } from '../../src/lua/keys.ts';
import { readSale, type SaleState } from '../../src/lua/read/read-sale.ts';
import type { Shards } from '../../src/redis/shards.ts';

export async function saleState(shards: Shards, saleId: string): Promise<SaleState> {
  const reply = await shards.call(readSale, saleId, saleId);
  if (reply.outcome === 'unknown_sale') throw new Error(`redis does not know ${saleId}`);
  return reply.state;
}

/** Read by some consumer and not acknowledged. */
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

/** Reads so many entries as a consumer that will never be heard of again. Returns their ids. */
export async function readAndDie(shards: Shards, saleId: string, count: number): Promise<string[]> {
  const { client } = shards.of(saleId);
  const key = saleKey(saleId, 'events');
  await client.xgroup('CREATE', key, PERSISTER_GROUP, '0', 'MKSTREAM').catch(() => undefined);
  const reply = await client.xreadgroup(
    'GROUP',
    PERSISTER_GROUP,
    'the-dead',
    'COUNT',
    count,
    'STREAMS',
    key,
    '>',
  );
  return (reply?.[0]?.[1] ?? []).map(([id]) => id);
}
