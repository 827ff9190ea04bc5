/**
 * A sale: what is sold, when, to whom how much. PostgreSQL owns the definition, Redis owns the counting.
 */

export const SALE_STATUSES = ['draft', 'open', 'paused', 'ended'] as const;
export type SaleStatus = (typeof SALE_STATUSES)[number];

/** What an operator does to a sale, from which states, into which. The only table of it. */
export const SALE_TRANSITIONS = {
  open: { from: ['draft'], to: 'open' },
  pause: { from: ['open'], to: 'paused' },
  resume: { from: ['paused'], to: 'open' },
  end: { from: ['draft', 'open', 'paused'], to: 'ended' },
} as const satisfies Record<string, { from: readonly SaleStatus[]; to: SaleStatus }>;
export type SaleTransition = keyof typeof SALE_TRANSITIONS;

export interface SkuDefinition {
  sku: string;
  name: string;
  /** Minor units of the sale's currency. */
  price: number;
}

export interface SaleDefinition {
  saleId: string;
  name: string;
  /** ISO 4217. */
  currency: string;
  status: SaleStatus;
  /** Milliseconds since the epoch; null: no bound. */
  startsAt: number | null;
  endsAt: number | null;
  /** Units, over all SKUs, that one buyer may hold or own in this sale. */
  perBuyerLimit: number;
  holdSeconds: number;
  skus: SkuDefinition[];
}

/** The counts of one SKU as Redis has them. At every moment `loaded = remaining + held + confirmed`. */
export interface SkuStock {
  sku: string;
  loaded: number;
  remaining: number;
  held: number;
  confirmed: number;
  /** Buyers in line; while there are any, what remains is theirs and the SKU is sold out for everybody else. */
  waiting: number;
}

/** What a buyer who is not in line can have. */
export function availableOf(stock: Pick<SkuStock, 'remaining' | 'waiting'>): number {
  return stock.waiting > 0 ? 0 : stock.remaining;
}

/** The state that a buyer sees: the operator's word, unless the clock has ended the sale. */
export function effectiveStatus(
  sale: Pick<SaleDefinition, 'status' | 'endsAt'>,
  nowMs: number,
): SaleStatus {
  if (sale.status !== 'draft' && sale.endsAt !== null && nowMs >= sale.endsAt) return 'ended';
  return sale.status;
}
