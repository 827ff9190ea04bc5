/** Replaces a sale by the rebuilt one and opens it. The contract is the header of finish-rebuild.lua. */
import type { SaleDefinition, SkuStock } from '../../domain/sale.ts';
import { REBUILD_KEYS, WAITLIST_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

/** The sweep adds `smallestWaiting`. */
export type RebuiltStock = Omit<SkuStock, 'smallestWaiting'> & { price: number };

export interface RebuiltSale {
  definition: SaleDefinition;
  stock: RebuiltStock[];
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
  /** The newest time of the sale that PostgreSQL has, ms. */
  time: number;
}

interface RebuildEnd {
  timeline: number;
  closing: string;
  parts: number;
  /** Undefined: there is no such sale. */
  sale: RebuiltSale | undefined;
}

export const finishRebuild = defineScript({
  source: new URL('finish-rebuild.lua', import.meta.url),
  keys: [...WAITLIST_KEYS, ...REBUILD_KEYS],
  args: 'timeline closing parts definition stock counters',
  encode({ timeline, closing, parts, sale }: RebuildEnd) {
    const head = [timeline, closing, parts];
    if (!sale) return [...head, '', '[]', '{}'];
    const { definition, stock, ...counters } = sale;
    return [...head, ...[definition, stock, counters].map((part) => JSON.stringify(part))];
  },
  decode: oneOf('finished', 'superseded', 'open'),
});
