/** Replaces a sale by the rebuilt one and opens it. The contract is the header of finish-rebuild.lua. */
import type { SaleDefinition, SkuStock } from '../../domain/sale.ts';
import { CHANGE_KEYS, REBUILD_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export interface RebuiltSale {
  definition: SaleDefinition;
  stock: (SkuStock & { price: number })[];
  /** The last operation that it includes. */
  operation: number;
  operationOutcome: string;
  /** The last position that a buyer may have seen. */
  position: number;
  events: number;
  /** Formatted, see domain/positions.ts. */
  gaps: string;
  /** The last waitlist ticket. */
  tickets: number;
}

export const finishRebuild = defineScript({
  source: new URL('finish-rebuild.lua', import.meta.url),
  keys: [...CHANGE_KEYS, ...REBUILD_KEYS],
  args: 'timeline closing parts definition stock counters',
  encode(rebuild: {
    timeline: number;
    closing: string;
    parts: number;
    sale: RebuiltSale | undefined;
  }) {
    const { timeline, closing, parts, sale } = rebuild;
    if (!sale) return [timeline, closing, parts, '', '[]', '{}'];
    const { definition, stock, ...counters } = sale;
    return [
      timeline,
      closing,
      parts,
      JSON.stringify(definition),
      JSON.stringify(stock),
      JSON.stringify(counters),
    ];
  },
  decode(reply: Reply): 'finished' | 'superseded' | 'open' {
    if (reply === 'finished' || reply === 'superseded' || reply === 'open') return reply;
    throw malformed('finish-rebuild', reply);
  },
});
