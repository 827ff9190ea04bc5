/** The definition and the stock of a rebuilt sale: as operators loaded it, less held and confirmed units. */
import type { Gap } from '../../domain/positions.ts';
import {
  effectiveStatus,
  reopens,
  type SaleDefinition,
  withoutRefused,
} from '../../domain/sale.ts';
import { waitlistTicketOf } from '../../domain/waitlist.ts';
import type { SaleOperation } from '../../lua/operate/apply-operation.ts';
import type { RebuiltStock } from '../../lua/recover/finish-rebuild.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { SettledOperation } from '../../postgres/settle-operation.ts';
import type { ReservationRow } from './rebuild-rows.ts';

/** Totals over a sale's reservations and its waitlist. */
export class SoldTotals {
  reservations = 0;
  lastTicket = 0;
  /** Waitlist tickets that were served. */
  readonly #served = new Set<number>();
  /** Buyers on the waitlist, by SKU. */
  readonly waiting = new Map<string, number>();
  readonly #units = new Map<string, { held: number; confirmed: number }>();
  readonly #gaps: Gap[] = [];
  #lastPosition = 0;

  count(row: ReservationRow): void {
    this.reservations += 1;
    this.#findGap(row.position - 1);
    this.#lastPosition = row.position;
    const ticket = waitlistTicketOf(row);
    if (ticket !== undefined) {
      this.#served.add(ticket);
      this.lastTicket = Math.max(this.lastTicket, ticket);
    }
    for (const { sku, quantity } of row.basket.items) {
      const units = this.unitsOf(sku);
      this.#units.set(sku, units);
      if (row.status === 'reserved') units.held += quantity;
      if (row.status === 'confirmed') units.confirmed += quantity;
    }
  }

  /** Counts a member of the waitlist. False: it was served. */
  countWaiting(sku: string, ticket: number): boolean {
    this.lastTicket = Math.max(this.lastTicket, ticket);
    if (this.#served.has(ticket)) return false;
    this.waiting.set(sku, (this.waiting.get(sku) ?? 0) + 1);
    return true;
  }

  get skus(): Iterable<string> {
    return this.#units.keys();
  }

  unitsOf(sku: string): { held: number; confirmed: number } {
    return this.#units.get(sku) ?? { held: 0, confirmed: 0 };
  }

  soldOf(sku: string): number {
    const { held, confirmed } = this.unitsOf(sku);
    return held + confirmed;
  }

  /** PostgreSQL has a prefix of the decisions, so a position without a row was skipped. */
  gapsUpTo(position: number): Gap[] {
    this.#findGap(position);
    return this.#gaps;
  }

  #findGap(before: number): void {
    const count = before - this.#lastPosition;
    if (count > 0) this.#gaps.push({ after: this.#lastPosition, count });
  }
}

/** A sale's definition and loaded stock after an operation. */
export interface Offer {
  operation: number;
  outcome: string;
  /** Undefined: no operation was ever applied. */
  definition: SaleDefinition | undefined;
  loaded: ReadonlyMap<string, number>;
  /** The pending operations that are included, with their outcomes. They must be stored before the sale opens. */
  countedIn: readonly SettledOperation[];
}

type PendingOperation = Omit<SaleOperation, 'timeline'>;

/**
 * Starts from the settled operations. If they loaded less than was sold, it includes pending operations, in order and
 * only as many as needed. Redis may already have applied the first one. A later one may be a load that fixes the shortage.
 * The others are applied once the sale is open. The first one is also included if it ends the sale: buyers may know.
 */
export async function offerFor(
  transaction: Transaction,
  saleId: string,
  sold: SoldTotals,
  /** Redis' clock. */
  nowMs: number,
): Promise<Offer | { why: string }> {
  let offer = await settledOffer(transaction, saleId);
  let shortage = shortageOf(offer, sold);
  const pending = await transaction<PendingOperation[]>`
    SELECT operation, definition, changes FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation`;
  for (const [index, next] of pending.entries()) {
    const after = countIn(offer, next, sold, nowMs);
    const mayHaveEnded = index === 0 && hasEnded(after, nowMs) && !hasEnded(offer, nowMs);
    if (!shortage && !mayHaveEnded) break;
    if (after.outcome === 'sale_ended') {
      for (const later of pending.slice(index + 1)) {
        later.definition = withoutRefused(later.definition, next.definition, offer.definition!);
      }
    }
    offer = after;
    shortage = shortageOf(offer, sold);
  }
  if (!shortage) return offer;
  return {
    why: `more is held and confirmed than loaded (${shortage}): load the missing units; that request gets 503, but the recovery includes it and opens the sale`,
  };
}

/** Applies an operation like Redis does, except that an existing shortage rejects only withdrawals of that SKU. */
function countIn(
  offer: Offer,
  { operation, definition, changes }: PendingOperation,
  sold: SoldTotals,
  nowMs: number,
): Offer {
  const loaded = new Map(offer.loaded);
  for (const { sku, delta } of changes) loaded.set(sku, (loaded.get(sku) ?? 0) + delta);
  const isShort = changes.some(
    ({ sku, delta }) => delta < 0 && (loaded.get(sku) ?? 0) < sold.soldOf(sku),
  );
  const isTooLate = offer.definition && reopens(offer.definition, definition, nowMs);
  const outcome = isTooLate ? 'sale_ended' : isShort ? 'insufficient_stock' : 'applied';
  const isRefused = outcome !== 'applied';
  const startsAt = startAfter(offer.definition, definition);
  const keptStart = isRefused || startsAt === definition.startsAt ? undefined : startsAt;
  const countedIn = [...offer.countedIn, { operation, outcome, keptStart } as const];
  if (isRefused) return { ...offer, operation, outcome, countedIn };
  return { operation, outcome, definition: { ...definition, startsAt }, loaded, countedIn };
}

function hasEnded({ definition }: Offer, nowMs: number): boolean {
  return definition !== undefined && effectiveStatus(definition, nowMs) === 'ended';
}

/** Something was sold or the sale has ended, so it has started, and its start cannot move to later. */
function startAfter(before: SaleDefinition | undefined, next: SaleDefinition): number | null {
  if (!before || before.status === 'draft' || next.status === 'draft') return next.startsAt;
  if (before.startsAt === null || next.startsAt === null) return null;
  return Math.min(before.startsAt, next.startsAt);
}

async function settledOffer(transaction: Transaction, saleId: string): Promise<Offer> {
  const [last] = await transaction<{ operation: number; outcome: string }[]>`
    SELECT operation, outcome FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome <> 'pending' ORDER BY operation DESC LIMIT 1`;
  const [applied] = await transaction<{ definition: SaleDefinition }[]>`
    SELECT definition FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'applied' ORDER BY operation DESC LIMIT 1`;
  const sums = await transaction<{ sku: string; units: number }[]>`
    SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND outcome = 'applied' GROUP BY sku`;
  return {
    operation: last?.operation ?? 0,
    outcome: last?.outcome ?? '',
    definition: applied?.definition,
    loaded: new Map(sums.map(({ sku, units }) => [sku, units])),
    countedIn: [],
  };
}

/** SKUs with more units held and confirmed than loaded, or unknown to the sale. Undefined: there are none. */
function shortageOf(offer: Offer, sold: SoldTotals): string | undefined {
  const known = new Set(offer.definition?.skus.map(({ sku }) => sku));
  const short: string[] = [];
  for (const sku of sold.skus) {
    const loaded = offer.loaded.get(sku) ?? 0;
    const units = sold.soldOf(sku);
    if (!known.has(sku) || units > loaded) short.push(`${sku}: ${units} of ${loaded}`);
  }
  return short.length > 0 ? short.join(', ') : undefined;
}

export function stockOf(offer: Offer, sold: SoldTotals): RebuiltStock[] {
  return offer.definition!.skus.map(({ sku, price }) => {
    const loaded = offer.loaded.get(sku) ?? 0;
    const { held, confirmed } = sold.unitsOf(sku);
    const remaining = loaded - held - confirmed;
    const waiting = sold.waiting.get(sku) ?? 0;
    return { sku, price, loaded, remaining, held, confirmed, waiting };
  });
}
