/** Removes a buyer from the waitlists of a sale. The contract is the header of leave-waitlist.lua. */
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export type LeaveWaitlistReply =
  /** `count`: how many waitlists the buyer has left. */
  { outcome: 'left'; count: number } | { outcome: 'unknown_sale' | 'recovering' };

export const leaveWaitlist = defineScript({
  source: new URL('leave-waitlist.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'buyer newTag',
  encode(request: { buyerId: string; tag: string }) {
    return [request.buyerId, request.tag];
  },
  decode(reply: Reply): LeaveWaitlistReply {
    const [outcome, count] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'left') throw malformed('leave-waitlist', reply);
    return { outcome, count: Number(count) };
  },
});
