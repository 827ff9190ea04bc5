/** Closes a sale until it has been recovered. The contract is the header of close-sale.lua. */
import { defineScript, malformed, type Reply } from '../script.ts';

export interface Closing {
  closing: string;
  timeline: number;
  begunAfter: string;
}

export const closeSale = defineScript({
  source: new URL('close-sale.lua', import.meta.url),
  keys: ['sale'],
  args: 'closing timeline begunAfter',
  encode({ closing, timeline, begunAfter }: Closing) {
    return [closing, timeline, begunAfter];
  },
  decode(reply: Reply): 'closed' | 'foreign' | 'forgotten' {
    if (reply === 'closed' || reply === 'foreign' || reply === 'forgotten') return reply;
    throw malformed('close-sale', reply);
  },
});
