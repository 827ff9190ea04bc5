/** Takes a buyer out of the lines of a sale. The contract is the header of leave-line.lua. */
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export type LeaveWaitlistReply =
  | { outcome: 'left'; count: number }
  | { outcome: 'unknown_sale' | 'recovering' };

export const leaveWaitlist = defineScript({
  source: new URL('leave-waitlist.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'buyer newTag',
  encode(asked: { buyerId: string; tag: string }) {
    return [asked.buyerId, asked.tag];
  },
  decode(reply: Reply): LeaveWaitlistReply {
    const [outcome, count] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'left') throw malformed('leave-waitlist', reply);
    return { outcome, count: Number(count) };
  },
});
