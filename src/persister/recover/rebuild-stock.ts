/** What a rebuilt sale has on offer: the definition and the stock that operators gave it, less what was sold. */
import type { SaleDefinition, SkuStock } from '../../domain/sale.ts';
import type { Operation } from '../../lua/operate/apply-operation.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { SettledOperation } from '../../postgres/settle-operation.ts';
import type { Sold } from './rebuild-sold.ts';

/** What a sale has after an operation. */
export interface Offer {
  operation: number;
  outcome: string;
  /** Undefined: nothing was ever applied. */
  definition: SaleDefinition | undefined;
  loaded: ReadonlyMap<string, number>;
  /** The pending operations that are counted in, as they come out; to be written before anybody buys of them. */
  countedIn: readonly SettledOperation[];
}

type PendingOperation = Omit<Operation, 'timeline'>;

/**
 * By the operations that PostgreSQL knows as done. Pending ones are counted in, from the first on and no more of them
 * than it takes, only where what was sold can't be explained without: the first may have been done without
 * PostgreSQL's knowing, and any may be the load that an operator makes up for a lack with. The others are applied,
 * once, when the sale is open.
 */
export async function offerFor(
  transaction: Transaction,
  saleId: string,
  sold: Sold,
): Promise<Offer | { why: string }> {
  let offer = await settledOffer(transaction, saleId);
  let shortage = shortageOf(offer, sold);
  if (!shortage) return offer;
  const pending = await transaction<PendingOperation[]>`
    SELECT operation, definition, changes FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation`;
  for (const next of pending) {
    offer = countIn(offer, next, sold);
    shortage = shortageOf(offer, sold);
    if (!shortage) return offer;
  }
  return {
    why: `more was promised than is loaded (${shortage}): load what is missing, which is recorded and opens the sale, though it is answered 503 until then`,
  };
}

/** As Redis would apply it, only that what is short already refuses nothing but a withdrawal of the same SKU. */
function countIn(offer: Offer, next: PendingOperation, sold: Sold): Offer {
  const { operation, definition, changes } = next;
  const loaded = new Map(offer.loaded);
  for (const { sku, delta } of changes) loaded.set(sku, (loaded.get(sku) ?? 0) + delta);
  const isRefused = changes.some(
    ({ sku, delta }) => delta < 0 && (loaded.get(sku) ?? 0) < promisedOf(sold, sku),
  );
  if (isRefused) {
    const outcome = 'insufficient_stock';
    const settled = { operation, outcome, keptStart: undefined } as const;
    return { ...offer, operation, outcome, countedIn: [...offer.countedIn, settled] };
  }
  const startsAt = startAfter(offer.definition, definition);
  const outcome = 'applied';
  const keptStart = startsAt === definition.startsAt ? undefined : startsAt;
  const settled = { operation, outcome, keptStart } as const;
  return {
    operation,
    outcome,
    definition: { ...definition, startsAt },
    loaded,
    countedIn: [...offer.countedIn, settled],
  };
}

/** Something was sold, so the sale had begun, and what has begun has begun: it is not put off. */
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

/** SKUs of which more is held and confirmed than was loaded, or that the sale does not have; undefined: none. */
function shortageOf(offer: Offer, sold: Sold): string | undefined {
  const known = new Set(offer.definition?.skus.map(({ sku }) => sku));
  const short: string[] = [];
  for (const sku of sold.units.keys()) {
    const loaded = offer.loaded.get(sku) ?? 0;
    const promised = promisedOf(sold, sku);
    if (!known.has(sku) || promised > loaded) short.push(`${sku}: ${promised} of ${loaded}`);
  }
  return short.length > 0 ? short.join(', ') : undefined;
}

function promisedOf(sold: Sold, sku: string): number {
  const { held, confirmed } = sold.units.get(sku) ?? { held: 0, confirmed: 0 };
  return held + confirmed;
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
