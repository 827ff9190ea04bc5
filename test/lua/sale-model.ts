/**
 * A sale as a plain program would keep it: no Redis, no batches, no packing. The scripts must agree with it.
 */
import { canonicalItems, type Item } from '../../src/domain/reservation.ts';
import type { SaleDefinition, SkuStock } from '../../src/domain/sale.ts';
import type { StockChange } from '../../src/lua/apply-operation.ts';

export interface ModelReservation {
  buyerId: string;
  key: string;
  items: Item[];
  position: number;
}

export type ModelOutcome =
  | { outcome: 'reserved' | 'replayed'; reservation: ModelReservation }
  | { outcome: string };

export class SaleModel {
  definition: SaleDefinition;
  readonly stock = new Map<string, SkuStock>();
  readonly reservations: ModelReservation[] = [];

  constructor(definition: SaleDefinition) {
    this.definition = definition;
  }

  apply(definition: SaleDefinition, changes: StockChange[]): 'applied' | 'insufficient_stock' {
    for (const { sku, delta } of changes) {
      if ((this.stock.get(sku)?.remaining ?? 0) + delta < 0) return 'insufficient_stock';
    }
    for (const { sku } of definition.skus) {
      if (!this.stock.has(sku)) {
        this.stock.set(sku, { sku, loaded: 0, remaining: 0, held: 0, confirmed: 0 });
      }
    }
    for (const { sku, delta } of changes) {
      const stock = this.stock.get(sku)!;
      stock.loaded += delta;
      stock.remaining += delta;
    }
    // What has begun has begun.
    const { status, startsAt } = this.definition;
    const hasBegun = status !== 'draft' && startsAt !== null && Date.now() >= startsAt;
    this.definition =
      hasBegun && definition.status !== 'draft' ? { ...definition, startsAt } : definition;
    return 'applied';
  }

  buy(buyerId: string, key: string, items: Item[], nowMs: number): ModelOutcome {
    const own = this.reservations.filter((reservation) => reservation.buyerId === buyerId);
    const earlier = own.find((reservation) => reservation.key === key);
    if (earlier) {
      return canonicalItems(earlier.items) === canonicalItems(items)
        ? { outcome: 'replayed', reservation: earlier }
        : { outcome: 'key_reused' };
    }
    const { status, startsAt, endsAt, perBuyerLimit } = this.definition;
    if (status === 'ended' || (endsAt !== null && nowMs >= endsAt))
      return { outcome: 'sale_ended' };
    if (status === 'draft' || (startsAt !== null && nowMs < startsAt)) {
      return { outcome: 'sale_not_started' };
    }
    if (status === 'paused') return { outcome: 'sale_paused' };
    if (items.some(({ sku }) => !this.stock.has(sku))) return { outcome: 'unknown_sku' };
    if (unitsOf(own.flatMap((each) => each.items)) + unitsOf(items) > perBuyerLimit) {
      return { outcome: 'limit_reached' };
    }
    if (items.some(({ sku }) => this.stock.get(sku)!.remaining === 0))
      return { outcome: 'sold_out' };
    if (items.some(({ sku, quantity }) => this.stock.get(sku)!.remaining < quantity)) {
      return { outcome: 'insufficient_stock' };
    }
    for (const { sku, quantity } of items) {
      const stock = this.stock.get(sku)!;
      stock.remaining -= quantity;
      stock.held += quantity;
    }
    const reservation = { buyerId, key, items, position: this.reservations.length + 1 };
    this.reservations.push(reservation);
    return { outcome: 'reserved', reservation };
  }
}

function unitsOf(items: readonly Item[]): number {
  return items.reduce((units, { quantity }) => units + quantity, 0);
}
