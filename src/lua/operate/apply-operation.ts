/** Applies one numbered sale operation. The contract is the header of apply-operation.lua. */
import type { SaleDefinition } from '../../domain/sale.ts';
import { defineScript } from '../script.ts';

export interface StockChange {
  sku: string;
  delta: number;
}

export interface SaleOperation {
  /** Counts from 1 in each sale, without gaps. */
  operation: number;
  /** The timeline that the sale is on; operation 1 begins it. */
  timeline: number;
  definition: SaleDefinition;
  changes: StockChange[];
}

export const applyOperation = defineScript({
  source: new URL('apply-operation.lua', import.meta.url),
  keys: ['sale', 'stock'],
  args: 'operation timeline definition changes',
  encode: ({ operation, timeline, definition, changes }: SaleOperation) => [
    operation,
    timeline,
    JSON.stringify(definition),
    JSON.stringify(changes),
  ],
  words: ['insufficient_stock', 'sale_ended', 'recovering', 'unknown_sale'],
  decode([outcome, applied, startsAt]) {
    if (outcome === 'gap') return { outcome, applied: Number(applied) };
    if (outcome !== 'applied') return undefined;
    return { outcome, startsAt: startsAt === '' ? null : Number(startsAt) };
  },
});
