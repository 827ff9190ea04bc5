/** Removes a buyer from the waitlists of a sale. The contract is the header of leave-waitlist.lua. */
import { WAITLIST_KEYS } from '../keys.ts';
import { defineScript } from '../script.ts';

export const leaveWaitlist = defineScript({
  source: new URL('leave-waitlist.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'buyer newTag',
  encode: (request: { buyerId: string; tag: string }) => [request.buyerId, request.tag],
  words: ['unknown_sale', 'recovering', 'sale_ended'],
  decode: ([outcome, count]) =>
    outcome === 'left' ? { outcome, count: Number(count) } : undefined,
});
