/**
 * A sale: its definition, which PostgreSQL owns, and its counts, which Redis owns.
 */

export const SALE_STATUSES = ['draft', 'open', 'paused', 'ended'] as const;
export type SaleStatus = (typeof SALE_STATUSES)[number];

/** Every change of a sale's status by an operator: from which, to which. */
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
  /** Units that one buyer may hold or own of it, beside the sale's limit. Absent: no limit of its own. */
  perBuyerLimit?: number;
}

export interface SkuLimit {
  sku: string;
  perBuyerLimit: number;
}

export function skuLimitsOf(skus: readonly SkuDefinition[]): SkuLimit[] {
  return skus.flatMap(({ sku, perBuyerLimit }) =>
    perBuyerLimit === undefined ? [] : [{ sku, perBuyerLimit }],
  );
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
  /** How long a reservation from the waitlist is held. Absent: as long as a purchase. */
  waitlistHoldSeconds?: number;
  skus: SkuDefinition[];
}

export function waitlistHoldSecondsOf(
  sale: Pick<SaleDefinition, 'holdSeconds' | 'waitlistHoldSeconds'>,
): number {
  return sale.waitlistHoldSeconds ?? sale.holdSeconds;
}

/** The counts of one SKU in Redis. At every moment `loaded = remaining + held + confirmed`. */
export interface SkuStock {
  sku: string;
  loaded: number;
  remaining: number;
  held: number;
  confirmed: number;
  /** Buyers on the waitlist. */
  waiting: number;
  /** The smallest quantity that one of them waits for; 0: nobody waits, or Redis does not know it yet. */
  smallestWaiting: number;
}

/**
 * Units that a buyer who is not on the waitlist can get: all that remain, or none while a buyer on the waitlist waits for
 * as many or fewer. In Lua, parts/available.lua is the counterpart.
 */
export function availableOf(
  stock: Pick<SkuStock, 'remaining' | 'waiting' | 'smallestWaiting'>,
): number {
  const isDue = stock.waiting > 0 && stock.remaining >= stock.smallestWaiting;
  return isDue ? 0 : stock.remaining;
}

/** Remaining units that nobody on the waitlist can take, because each waits for more. */
export function tooFewForWaitlist(
  stock: Pick<SkuStock, 'remaining' | 'waiting' | 'smallestWaiting'>,
): number {
  return stock.waiting > 0 ? availableOf(stock) : 0;
}

/** The status that buyers see: the operator's, unless the sale has reached its end. */
export function effectiveStatus(
  sale: Pick<SaleDefinition, 'status' | 'endsAt'>,
  nowMs: number,
): SaleStatus {
  if (sale.status !== 'draft' && sale.endsAt !== null && nowMs >= sale.endsAt) return 'ended';
  return sale.status;
}

/** Whether Redis refuses to replace `before` by `next`: a sale that has ended keeps its end and stays ended. */
export function reopens(before: SaleDefinition, next: SaleDefinition, nowMs: number): boolean {
  if (effectiveStatus(before, nowMs) !== 'ended') return false;
  return (
    next.endsAt !== before.endsAt ||
    next.status === 'draft' ||
    (before.status === 'ended' && next.status !== 'ended')
  );
}

/**
 * A recorded definition without what a refused operation would have changed: each field that it inherited from `refused`
 * has the value of `before` again.
 */
export function withoutRefused(
  definition: SaleDefinition,
  refused: SaleDefinition,
  before: SaleDefinition,
): SaleDefinition {
  const fields = new Set([...Object.keys(definition), ...Object.keys(before)]);
  const fieldOf = (sale: SaleDefinition, field: string) => sale[field as keyof SaleDefinition];
  const isInherited = (field: string) =>
    JSON.stringify(fieldOf(definition, field)) === JSON.stringify(fieldOf(refused, field));
  const restored = [...fields].map((field): [string, unknown] => [
    field,
    fieldOf(isInherited(field) ? before : definition, field),
  ]);
  // A field may be absent in one of them.
  return Object.fromEntries(
    restored.filter(([, value]) => value !== undefined),
  ) as unknown as SaleDefinition;
}
