/** Reads one buyer's reservations and waitlist ranks in a sale. The contract is the header of read-buyer.lua. */

import type { Reservation } from '../../domain/reservation.ts';
import { parseRecords } from '../../domain/reservation-codec.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

/** A buyer's rank on the waitlist of a SKU, from 1; the API calls it `place`. */
export interface WaitlistRank {
  sku: string;
  quantity: number;
  place: number;
}

export type ReadBuyerReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | {
      outcome: 'known';
      perBuyerLimit: number;
      reservations: Reservation[];
      waiting: WaitlistRank[];
    };

export const readBuyer = defineScript({
  source: new URL('read-buyer.lua', import.meta.url),
  keys: ['sale', 'buyers', 'line', 'waiting'],
  args: 'buyer',
  // Shows decisions to buyers, as `reserve` does.
  needsReplicas: true,
  encode(buyerId: string) {
    return [buyerId];
  },
  decode(reply: Reply, saleId, buyerId): ReadBuyerReply {
    if (!Array.isArray(reply)) throw malformed('read-buyer', reply);
    const [outcome, limit, currency, records, ranks] = reply;
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'known' || typeof records !== 'string' || !Array.isArray(ranks)) {
      throw malformed('read-buyer', reply);
    }
    const sale = { saleId, currency: String(currency) };
    return {
      outcome,
      perBuyerLimit: Number(limit),
      reservations: parseRecords(records, sale, buyerId),
      waiting: ranksOf(ranks),
    };
  },
});

function ranksOf(flat: Reply[]): WaitlistRank[] {
  const ranks: WaitlistRank[] = [];
  for (let i = 0; i + 2 < flat.length; i += 3) {
    ranks.push({
      sku: String(flat[i]),
      quantity: Number(flat[i + 1]),
      place: Number(flat[i + 2]),
    });
  }
  return ranks;
}
