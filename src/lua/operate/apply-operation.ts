/** Applies one numbered sale operation. The contract is the header of apply-operation.lua. */
import type { SaleDefinition } from '../../domain/sale.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

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

export type OperationReply =
  /** With the sale's start: a sale that has started keeps it. */
  | { outcome: 'applied'; startsAt: number | null }
  | { outcome: 'insufficient_stock' | 'recovering' | 'unknown_sale' }
  | { outcome: 'gap'; applied: number };

export const applyOperation = defineScript({
  source: new URL('apply-operation.lua', import.meta.url),
  keys: ['sale', 'stock'],
  args: 'operation timeline definition changes',
  encode(operation: SaleOperation) {
    return [
      operation.operation,
      operation.timeline,
      JSON.stringify(operation.definition),
      JSON.stringify(operation.changes),
    ];
  },
  decode(reply: Reply): OperationReply {
    const [outcome, applied, startsAt] = Array.isArray(reply) ? reply : [];
    switch (outcome) {
      case 'applied':
        return { outcome, startsAt: startsAt === '' ? null : Number(startsAt) };
      case 'insufficient_stock':
      case 'recovering':
      case 'unknown_sale':
        return { outcome };
      case 'gap':
        return { outcome, applied: Number(applied) };
      default:
        throw malformed('apply-operation', reply);
    }
  },
});
