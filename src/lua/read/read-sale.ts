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
  /** Redis' clock, ms. */
  nowMs: number;
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
  keys: ['sale', 'stock', 'events'],
  args: '',
  encode: () => [],
  decode([outcome, nowMs, streamLength, sale, stock], saleId) {
    // `isForgotten`: a recovery found the sale missing here, so it exists.
    if (outcome === 'unknown_sale') return { outcome, isForgotten: false };
    if (outcome === 'forgotten') return { outcome: 'unknown_sale' as const, isForgotten: true };
    if (outcome !== 'known' && outcome !== 'recovering') return undefined;
    if (!Array.isArray(sale) || !Array.isArray(stock)) return undefined;
    const state = { nowMs: Number(nowMs), streamLength: Number(streamLength) };
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
): Omit<SaleState, 'nowMs' | 'streamLength'> {
  const text = (field: string): string => {
    const value = sale.get(field);
    if (value === undefined) throw malformed('read-sale', [...sale]);
    return value;
  };
  const optionalTime = (field: string) => (text(field) === '' ? null : Number(text(field)));
  const status = SALE_STATUSES.find((known) => known === text('status'));
  if (!status) throw malformed('read-sale', text('status'));
  const skus = JSON.parse(text('skus')) as SkuDefinition[];
  const count = (sku: string, field: string) => {
    const value = Number(stock.get(`${sku}:${field}`));
    if (!Number.isSafeInteger(value)) throw malformed('read-sale', [...stock]);
    return value;
  };
  const optionalCount = (sku: string, field: string) =>
    stock.has(`${sku}:${field}`) ? count(sku, field) : 0;
  // See parts/waitlist-index.lua.
  const isIndexed = Number(sale.get('indexed') ?? 0) === Number(sale.get('tickets') ?? 0);
  return {
    definition: {
      saleId,
      name: text('name'),
      currency: text('currency'),
      status,
      startsAt: optionalTime('startsAt'),
      endsAt: optionalTime('endsAt'),
      perBuyerLimit: Number(text('perBuyerLimit')),
      holdSeconds: Number(text('holdSeconds')),
      skus,
    },
    stock: skus.map(({ sku }) => ({
      sku,
      loaded: count(sku, 'loaded'),
      remaining: count(sku, 'remaining'),
      held: count(sku, 'held'),
      confirmed: count(sku, 'confirmed'),
      waiting: optionalCount(sku, 'waiting'),
      smallestWaiting: isIndexed ? optionalCount(sku, 'smallestWaiting') : 0,
    })),
    position: Number(text('position')),
    events: Number(text('events')),
    drained: Number(text('drained')),
    operation: Number(text('operation')),
    fence: text('fence'),
    closing: sale.get('closing') ?? '',
    wasPromoted: sale.has('wasPromoted'),
    timeline: Number(sale.get('timeline') ?? 0),
    gaps: parseGaps(sale.get('gaps') ?? ''),
  };
}

function fieldsOf(pairs: Reply[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < pairs.length; i += 2) fields.set(String(pairs[i]), String(pairs[i + 1]));
  return fields;
}
