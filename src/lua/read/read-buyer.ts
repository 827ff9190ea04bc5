/** Reads one buyer's living and newest ended reservations, and waitlist ranks in a sale. The contract is the header of read-buyer.lua. */
import { asOf } from '../../domain/reservation.ts';
import { parseRecords } from '../../domain/reservation-codec.ts';
import { skuLimitsOf } from '../../domain/sale.ts';
import { defineScript, type Reply } from '../script.ts';
import { decodeSkus } from './read-sale.ts';

/** A buyer's rank on the waitlist of a SKU, from 1; the API calls it `place`. */
export interface WaitlistRank {
  sku: string;
  quantity: number;
  place: number;
}

export const readBuyer = defineScript({
  source: new URL('read-buyer.lua', import.meta.url),
  keys: ['sale', 'buyers', 'past', 'terms', 'line', 'waiting'],
  args: 'buyer position',
  // Shows decisions to buyers, as `reserve` does.
  needsReplicas: true,
  /** `position`: of a reservation to read also if it ended long ago. */
  encode: (buyerId: string, position?: number) => [buyerId, position ?? 0],
  words: ['unknown_sale', 'recovering', 'sale_ended'],
  decode(
    [outcome, limit, currency, records, ranks, coolDownEndMs, skus, nowMs],
    saleId,
    buyerId,
    _position?: number,
  ) {
    if (outcome !== 'known' || !Array.isArray(records) || !Array.isArray(ranks)) return undefined;
    const sale = { saleId, currency: String(currency) };
    return {
      outcome,
      perBuyerLimit: Number(limit),
      reservations: records
        .flatMap((texts) => (texts === null ? [] : parseRecords(String(texts), sale, buyerId)))
        .map((each) => asOf(each, Number(nowMs)))
        .toSorted((a, b) => a.position - b.position),
      waiting: ranksOf(ranks),
      /** The end of the cool-down, by Redis' clock; 0: there is none. */
      coolDownEndMs: Number(coolDownEndMs),
      /** SKUs with a limit of their own. */
      skuLimits: skus === '' ? [] : skuLimitsOf(decodeSkus(String(skus))),
    };
  },
});

export type ReadBuyerReply = ReturnType<(typeof readBuyer)['decode']>;

/** Parses sku, quantity, rank, …. */
export function ranksOf(flat: Reply[]): WaitlistRank[] {
  const ranks: WaitlistRank[] = [];
  for (let i = 0; i < flat.length; i += 3) {
    const [sku, quantity, place] = flat.slice(i, i + 3);
    ranks.push({ sku: String(sku), quantity: Number(quantity), place: Number(place) });
  }
  return ranks;
}
