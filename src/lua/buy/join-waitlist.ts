/** Adds a buyer to the waitlist of a SKU. The contract is the header of join-waitlist.lua. */
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

const REFUSALS = [
  'available',
  'insufficient_stock',
  'unknown_sku',
  'limit_reached',
  'sale_not_started',
  'sale_paused',
  'sale_ended',
  'unknown_sale',
  'recovering',
] as const;

export type JoinWaitlistReply =
  | { outcome: 'joined' | 'already'; place: number; quantity: number }
  | { outcome: (typeof REFUSALS)[number] };

export const joinWaitlist = defineScript({
  source: new URL('join-waitlist.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'buyer sku quantity',
  encode(request: { buyerId: string; sku: string; quantity: number }) {
    return [request.buyerId, request.sku, request.quantity];
  },
  decode(reply: Reply): JoinWaitlistReply {
    const [outcome, place, quantity] = Array.isArray(reply) ? reply : [];
    if (outcome === 'joined' || outcome === 'already') {
      return { outcome, place: Number(place), quantity: Number(quantity) };
    }
    const refusal = REFUSALS.find((word) => word === outcome);
    if (refusal === undefined) throw malformed('join-waitlist', reply);
    return { outcome: refusal };
  },
});
