/** Adds a buyer to the waitlist of a SKU. The contract is the header of join-waitlist.lua. */
import { WAITLIST_KEYS } from '../keys.ts';
import { ranksOf } from '../read/read-buyer.ts';
import { defineScript } from '../script.ts';

export const joinWaitlist = defineScript({
  source: new URL('join-waitlist.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'buyer sku quantity',
  encode: (request: { buyerId: string; sku: string; quantity: number }) => [
    request.buyerId,
    request.sku,
    request.quantity,
  ],
  words: [
    'available',
    'unknown_sku',
    'sale_not_started',
    'sale_paused',
    'sale_ended',
    'unknown_sale',
    'recovering',
  ],
  decode([outcome, place, quantity, isOfSku, waits], _saleId, { sku }) {
    switch (outcome) {
      case 'too_many_holds':
        return { outcome, untilMs: Number(place) };
      case 'limit_reached':
        if (!Array.isArray(waits)) return undefined;
        return {
          outcome,
          limit: Number(place),
          remaining: Number(quantity),
          /** Whose limit it is; empty: the sale's. */
          sku: isOfSku === 1 ? sku : '',
          /** What the buyer waits for, which counts against the sale's limit. */
          waiting: ranksOf(waits),
        };
      case 'joined':
      case 'already':
      case 'waiting':
        return { outcome, place: Number(place), quantity: Number(quantity) };
      default:
        return undefined;
    }
  },
});
