/** Reads where many buyers stand in line. The contract is the header of read-places.lua. */
import { waitingField } from '../../domain/waitlist.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export interface WaitlistQuery {
  buyerId: string;
  sku: string;
}

/** In the order asked; a place of 0: does not wait. */
export type ReadWaitlistRanksReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | { outcome: 'known'; ranks: { quantity: number; place: number }[] };

export const readWaitlistRanks = defineScript({
  source: new URL('read-waitlist-ranks.lua', import.meta.url),
  keys: ['sale', 'line', 'waiting'],
  args: '...fields',
  encode(asked: readonly WaitlistQuery[]) {
    return asked.map(({ buyerId, sku }) => waitingField(buyerId, sku));
  },
  decode(reply: Reply, _saleId, asked): ReadWaitlistRanksReply {
    const [outcome, flat] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'known' || !Array.isArray(flat) || flat.length !== 2 * asked.length) {
      throw malformed('read-waitlist-ranks', reply);
    }
    return {
      outcome,
      ranks: asked.map((_asked, i) => ({
        quantity: Number(flat[2 * i]),
        place: Number(flat[2 * i + 1]),
      })),
    };
  },
});
