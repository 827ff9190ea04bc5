/** What a rebuilt sale has on offer: the definition and the stock that operators gave it, less what was sold. */
import type { SaleDefinition, SkuStock } from '../domain/sale.ts';
import type { StockChange } from '../lua/apply-operation.ts';
import type { Transaction } from '../postgres/connection.ts';
import type { Sold } from './rebuild-sold.ts';

/** An operation's definition, and what was loaded up to it. */
export interface Offer {
  operation: number;
  outcome: string;
  /** Undefined: nothing was ever applied. */
  definition: SaleDefinition | undefined;
  loaded: Map<string, number>;
}

/**
 * By the operations that PostgreSQL knows as done. One more may have been done without its knowing; it is counted in
 * only where what was sold can't be explained without it, else it is applied, once, when the sale is open.
 */
export async function offerFor(
  transaction: Transaction,
  saleId: string,
  sold: Sold,
): Promise<Offer | { why: string }> {
  const offer = await settledOffer(transaction, saleId);
  const shortage = shortageOf(offer, sold);
  if (!shortage) return offer;
  const [pending] = await transaction<
    { operation: number; definition: SaleDefinition; changes: StockChange[] }[]
  >`
    SELECT operation, definition, changes FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation LIMIT 1`;
  if (pending) {
    const { operation, definition, changes } = pending;
    const loaded = new Map(offer.loaded);
    for (const { sku, delta } of changes) loaded.set(sku, (loaded.get(sku) ?? 0) + delta);
    const more = { operation, outcome: 'applied', definition, loaded };
    if (!shortageOf(more, sold)) return more;
  }
  return {
    why: `more was promised than is loaded (${shortage}): load what is missing, or end the sale`,
  };
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
  };
}

/** SKUs of which more is held and confirmed than was loaded, or that the sale does not have; undefined: none. */
function shortageOf(offer: Offer, sold: Sold): string | undefined {
  const known = new Set(offer.definition?.skus.map(({ sku }) => sku));
  const short: string[] = [];
  for (const [sku, { held, confirmed }] of sold.units) {
    const loaded = offer.loaded.get(sku) ?? 0;
    if (!known.has(sku) || held + confirmed > loaded) {
      short.push(`${sku}: ${held + confirmed} of ${loaded}`);
    }
  }
  return short.length > 0 ? short.join(', ') : undefined;
}

export function stockOf(
  offer: Offer,
  sold: Sold,
  waiting: ReadonlyMap<string, number>,
): (SkuStock & { price: number })[] {
  return offer.definition!.skus.map(({ sku, price }) => {
    const loaded = offer.loaded.get(sku) ?? 0;
    const { held, confirmed } = sold.units.get(sku) ?? { held: 0, confirmed: 0 };
    const remaining = loaded - held - confirmed;
    return { sku, price, loaded, remaining, held, confirmed, waiting: waiting.get(sku) ?? 0 };
  });
}
