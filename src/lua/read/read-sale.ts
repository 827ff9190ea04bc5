/** Reads a sale with its counts at one moment. The contract is the header of read-sale.lua. */
import { type Gap, parseGaps } from '../../domain/positions.ts';
import {
  SALE_STATUSES,
  type SaleDefinition,
  type SkuDefinition,
  type SkuStock,
} from '../../domain/sale.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export interface SaleState {
  definition: SaleDefinition;
  stock: SkuStock[];
  /** The sale's time. */
  nowMs: number;
  /** By how much the sale's time is ahead of the server's clock, which was set back. */
  aheadMs: number;
  /** When the next hold is due; 0: there is no hold. In the past: its units can be bought once a sweep has ended it. */
  nextDeadlineMs: number;
  /** The newest time that is stored; 0: none, NaN: unreadable. */
  newestMs: number;
  /** The last position given. */
  position: number;
  /** The number of events so far, and how many of them are drained to PostgreSQL. */
  events: number;
  drained: number;
  streamLength: number;
  /** The last operation applied. */
  operation: number;
  /** The run id of the server that it is open on; empty: it is closed. */
  fence: string;
  /** The closing that closed it; empty: none, see close-sale.lua. */
  closing: string;
  /** While it is closed: its server is or was a promoted replica, see close-sale.lua. */
  wasPromoted: boolean;
  /** Number of the history; a recovery begins another one. */
  timeline: number;
  /** Skipped positions, see domain/positions.ts. */
  gaps: Gap[];
}

export const readSale = defineScript({
  source: new URL('read-sale.lua', import.meta.url),
  keys: ['sale', 'stock', 'events', 'holds'],
  args: '',
  encode: () => [],
  decode([outcome, nowMs, streamLength, sale, stock, aheadMs, deadlineMs], saleId) {
    // `isForgotten`: a recovery found the sale missing here, so it exists. `isArchived`: PostgreSQL alone has it.
    if (outcome === 'unknown_sale' || outcome === 'forgotten' || outcome === 'archived') {
      const [isForgotten, isArchived] = [outcome === 'forgotten', outcome === 'archived'];
      return { outcome: 'unknown_sale' as const, isForgotten, isArchived };
    }
    if (outcome !== 'known' && outcome !== 'recovering') return undefined;
    if (!Array.isArray(sale) || !Array.isArray(stock)) return undefined;
    const state = {
      nowMs: Number(nowMs),
      aheadMs: Number(aheadMs),
      streamLength: Number(streamLength),
      nextDeadlineMs: Number(deadlineMs),
    };
    return {
      outcome,
      state: { ...state, ...decodeState(saleId, fieldsOf(sale), fieldsOf(stock)) },
    };
  },
});

export type ReadSaleReply = ReturnType<(typeof readSale)['decode']>;

function decodeState(
  saleId: string,
  sale: Map<string, string>,
  stock: Map<string, string>,
): Omit<SaleState, 'nowMs' | 'aheadMs' | 'streamLength' | 'nextDeadlineMs'> {
  const definition = decodeDefinition(saleId, sale);
  const number = (field: string) => wholeNumber(textOf(sale, field), field);
  return {
    definition,
    stock: decodeStock(definition.skus, sale, stock),
    newestMs: Number(sale.get('time') ?? 0),
    position: number('position'),
    events: number('events'),
    drained: number('drained'),
    operation: number('operation'),
    fence: textOf(sale, 'fence'),
    closing: sale.get('closing') ?? '',
    wasPromoted: sale.has('wasPromoted'),
    timeline: wholeNumber(sale.get('timeline') ?? '0', 'timeline'),
    gaps: parseGaps(sale.get('gaps') ?? ''),
  };
}

/** Throws `reply_malformed` if a field is missing or cannot be read. */
export function decodeDefinition(saleId: string, sale: Map<string, string>): SaleDefinition {
  const status = SALE_STATUSES.find((known) => known === textOf(sale, 'status'));
  if (!status) throw malformed('read-sale', textOf(sale, 'status'));
  const currency = textOf(sale, 'currency');
  if (!/^[A-Z]{3}$/.test(currency)) throw malformed('read-sale', ['currency', currency]);
  const optionalTime = (field: string) =>
    textOf(sale, field) === '' ? null : wholeNumber(textOf(sale, field), field);
  return {
    saleId,
    name: textOf(sale, 'name'),
    currency,
    status,
    startsAt: optionalTime('startsAt'),
    endsAt: optionalTime('endsAt'),
    perBuyerLimit: wholeNumber(textOf(sale, 'perBuyerLimit'), 'perBuyerLimit'),
    holdSeconds: wholeNumber(textOf(sale, 'holdSeconds'), 'holdSeconds'),
    ...(sale.has('waitlistHoldSeconds') && {
      waitlistHoldSeconds: wholeNumber(textOf(sale, 'waitlistHoldSeconds'), 'waitlistHoldSeconds'),
    }),
    skus: decodeSkus(textOf(sale, 'skus')),
  };
}

/** Throws `reply_malformed` if a count is missing or cannot be read. */
export function decodeStock(
  skus: readonly SkuDefinition[],
  sale: Map<string, string>,
  stock: Map<string, string>,
): SkuStock[] {
  // See parts/waitlist-index.lua.
  const isIndexed = Number(sale.get('indexed') ?? 0) === Number(sale.get('tickets') ?? 0);
  return skus.map(({ sku }) => {
    const count = (field: string) => wholeNumber(textOf(stock, `${sku}:${field}`), field);
    const optionalCount = (field: string) => (stock.has(`${sku}:${field}`) ? count(field) : 0);
    // Purchases read these two as well.
    count('price');
    optionalCount('perBuyerLimit');
    return {
      sku,
      loaded: count('loaded'),
      remaining: count('remaining'),
      held: count('held'),
      confirmed: count('confirmed'),
      waiting: optionalCount('waiting'),
      smallestWaiting: isIndexed ? optionalCount('smallestWaiting') : 0,
    };
  });
}

export function decodeSkus(text: string): SkuDefinition[] {
  try {
    const skus = JSON.parse(text) as SkuDefinition[];
    if (Array.isArray(skus) && skus.every(isSku)) return skus;
  } catch {
    // Reported below.
  }
  throw malformed('read-sale', text);
}

function isSku(value: Partial<SkuDefinition> | null): boolean {
  return (
    typeof value?.sku === 'string' &&
    typeof value.name === 'string' &&
    Number.isSafeInteger(value.price)
  );
}

function textOf(fields: Map<string, string>, field: string): string {
  const value = fields.get(field);
  if (value === undefined) throw malformed('read-sale', [...fields]);
  return value;
}

function wholeNumber(text: string, field: string): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value))
    throw malformed('read-sale', [field, text]);
  return value;
}

export function fieldsOf(pairs: Reply[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < pairs.length; i += 2) fields.set(String(pairs[i]), String(pairs[i + 1]));
  return fields;
}
