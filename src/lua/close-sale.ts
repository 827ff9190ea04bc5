/** Closes a sale until it has been recovered. The contract is the header of close-sale.lua. */
import { defineScript, malformed, type Reply } from './script.ts';

export const closeSale = defineScript({
  name: 'close-sale',
  keys: ['sale'],
  args: 'closing',
  encode(closing: string) {
    return [closing];
  },
  decode(reply: Reply): 'closed' | 'forgotten' {
    if (reply === 'closed' || reply === 'forgotten') return reply;
    throw malformed('close-sale', reply);
  },
});
