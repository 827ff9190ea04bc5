/** Adds a buyer to the waitlist of a SKU. The contract is the header of join-waitlist.lua. */
import { WAITLIST_KEYS } from '../keys.ts';
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
    'insufficient_stock',
    'unknown_sku',
    'limit_reached',
    'sale_not_started',
    'sale_paused',
    'sale_ended',
    'unknown_sale',
    'recovering',
  ],
  decode([outcome, place, quantity]) {
    if (outcome === 'too_many_holds') return { outcome, untilMs: Number(place) };
    if (outcome !== 'joined' && outcome !== 'already') return undefined;
    return { outcome, place: Number(place), quantity: Number(quantity) };
  },
});
