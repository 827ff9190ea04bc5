/** Reads the buyers who got reservations in a sale, in parts. The contract is the header of read-order.lua. */
import { defineScript } from '../script.ts';

/** The order of a timeline only grows at its end, so its parts can be read one after another. */
export const readOrder = defineScript({
  source: new URL('read-order.lua', import.meta.url),
  keys: ['sale', 'order'],
  args: 'skip most',
  encode: (skip: number, most: number) => [skip, most],
  words: ['unknown_sale', 'recovering'],
  decode([outcome, timeline, buyerIds]) {
    if (outcome !== 'known' || typeof timeline !== 'number' || !Array.isArray(buyerIds)) {
      return undefined;
    }
    return { outcome, timeline, buyerIds: buyerIds.map(String) };
  },
});
