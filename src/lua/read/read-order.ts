/** Reads the buyers who got reservations in a sale, in parts. The contract is the header of read-order.lua. */
import { defineScript, malformed, type Reply } from '../script.ts';

export type ReadOrderReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  /** The order of a timeline only grows at its end, so its parts can be read one after another. */
  | { outcome: 'known'; timeline: number; buyerIds: string[] };

export const readOrder = defineScript({
  source: new URL('read-order.lua', import.meta.url),
  keys: ['sale', 'order'],
  args: 'skip most',
  encode(skip: number, most: number) {
    return [skip, most];
  },
  decode(reply: Reply): ReadOrderReply {
    const [outcome, timeline, buyerIds] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'known' || typeof timeline !== 'number' || !Array.isArray(buyerIds)) {
      throw malformed('read-order', reply);
    }
    return { outcome, timeline, buyerIds: buyerIds.map(String) };
  },
});
