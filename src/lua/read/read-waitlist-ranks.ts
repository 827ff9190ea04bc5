/** Reads the waitlist ranks of many buyers. The contract is the header of read-waitlist-ranks.lua. */
import { waitingField } from '../../domain/waitlist.ts';
import { defineScript } from '../script.ts';

export interface WaitlistQuery {
  buyerId: string;
  sku: string;
}

/** Ranks are in the order of the queries. `place` is the rank; 0: the buyer is not on the waitlist. */
export const readWaitlistRanks = defineScript({
  source: new URL('read-waitlist-ranks.lua', import.meta.url),
  keys: ['sale', 'line', 'waiting'],
  args: '...fields',
  encode: (queries: readonly WaitlistQuery[]) =>
    queries.map(({ buyerId, sku }) => waitingField(buyerId, sku)),
  words: ['unknown_sale', 'recovering'],
  decode([outcome, flat], _saleId, queries) {
    if (outcome !== 'known' || !Array.isArray(flat) || flat.length !== 2 * queries.length) {
      return undefined;
    }
    const ranks = queries.map((_query, i) => ({
      quantity: Number(flat[2 * i]),
      place: Number(flat[2 * i + 1]),
    }));
    return { outcome, ranks };
  },
});
