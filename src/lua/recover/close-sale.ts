/** Closes a sale until it has been recovered. The contract is the header of close-sale.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export const closeSale = defineScript({
  source: new URL('close-sale.lua', import.meta.url),
  keys: ['sale', 'events', ...REBUILD_KEYS],
  args: 'closing timeline begunAfter',
  encode: (request: { closing: string; timeline: number; begunAfter: string }) => [
    request.closing,
    request.timeline,
    request.begunAfter,
  ],
  decode: oneOf('closed', 'foreign', 'forgotten'),
});
