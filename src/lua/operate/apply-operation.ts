/** Applies one numbered operation of an operator. The contract is the header of apply-operation.lua. */
import type { SaleDefinition } from '../../domain/sale.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export interface StockChange {
  sku: string;
  delta: number;
}

export interface SaleOperation {
  /** Counts from 1 in each sale, without gaps. */
  operation: number;
  /** Which line of decisions the sale is on; operation 1 begins it. */
  timeline: number;
  definition: SaleDefinition;
  changes: StockChange[];
}

export type OperationReply =
  /** With the start that the sale has now: one that has begun keeps its own. */
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
