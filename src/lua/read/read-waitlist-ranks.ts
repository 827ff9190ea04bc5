/** Reads the waitlist ranks of many buyers. The contract is the header of read-waitlist-ranks.lua. */
import { waitingField } from '../../domain/waitlist.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export interface WaitlistQuery {
  buyerId: string;
  sku: string;
}

/** In the order of the queries. `place` is the rank; 0: the buyer is not on the waitlist. */
export type ReadWaitlistRanksReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | { outcome: 'known'; ranks: { quantity: number; place: number }[] };

export const readWaitlistRanks = defineScript({
  source: new URL('read-waitlist-ranks.lua', import.meta.url),
  keys: ['sale', 'line', 'waiting'],
  args: '...fields',
  encode(queries: readonly WaitlistQuery[]) {
    return queries.map(({ buyerId, sku }) => waitingField(buyerId, sku));
  },
  decode(reply: Reply, _saleId, queries): ReadWaitlistRanksReply {
    const [outcome, flat] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'known' || !Array.isArray(flat) || flat.length !== 2 * queries.length) {
      throw malformed('read-waitlist-ranks', reply);
    }
    return {
      outcome,
      ranks: queries.map((_query, i) => ({
        quantity: Number(flat[2 * i]),
        place: Number(flat[2 * i + 1]),
      })),
    };
  },
});
