/** Reads what can be read of a sale that may be damaged. The contract is the header of examine-sale.lua. */

import { ordinalOf, parseGaps } from '../../domain/positions.ts';
import type { SaleDefinition, SkuStock } from '../../domain/sale.ts';
import { type SaleKey, WAITLIST_KEYS } from '../keys.ts';
import { decodeDefinition, decodeStock, fieldsOf } from '../read/read-sale.ts';
import { defineScript } from '../script.ts';

const TYPES: Partial<Record<SaleKey, string>> = {
  order: 'list',
  holds: 'zset',
  line: 'zset',
  lineByQuantity: 'zset',
  events: 'stream',
};

const OUTCOMES: ReadonlySet<string | undefined> = new Set([
  'applied',
  'insufficient_stock',
  'sale_ended',
]);

/** What a sale in Redis has. A value is undefined if it is absent or cannot be read. */
export interface Examination {
  /** Redis' clock, ms. */
  nowMs: number;
  /** Redis does not have the sale, or only the placeholder of close-sale. */
  isForgotten: boolean;
  /** The run id of the server that it is open on. */
  fence: string;
  /** The run id of the only server on which the sale was open on this timeline; empty: not known. */
  decidedOn: string;
  closing: string;
  wasPromoted: boolean;
  timeline: number | undefined;
  position: number | undefined;
  events: number | undefined;
  /** The last event that was trimmed from the stream. */
  drained: number | undefined;
  operation: number | undefined;
  operationOutcome: string;
  gaps: string;
  definition: SaleDefinition | undefined;
  stock: SkuStock[] | undefined;
  /** The keys that exist and have the right type. */
  keys: ReadonlySet<SaleKey>;
  /**
   * What is wrong, such as `status`, `type of order` or `no order`. Empty for a sale that Redis has forgotten. Records and
   * other elements of large keys are not read.
   */
  damages: string[];
}

export const examineSale = defineScript({
  source: new URL('examine-sale.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: '',
  encode: () => [],
  decode([nowMs, types, sale, stock], saleId): Examination | undefined {
    if (!Array.isArray(types) || !Array.isArray(sale) || !Array.isArray(stock)) return undefined;
    const damages: string[] = [];
    const keys = new Set<SaleKey>();
    for (const [index, key] of WAITLIST_KEYS.entries()) {
      if (types[index] === (TYPES[key] ?? 'hash')) keys.add(key);
      else if (types[index] !== 'none') damages.push(`type of ${key}`);
    }
    const fields = fieldsOf(sale);
    const counts = fieldsOf(stock);
    const isForgotten = fields.size === 0 || fields.has('forgotten');
    const wholeNumber = (field: string) => {
      const text = fields.get(field) ?? '';
      if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
      if (!isForgotten) damages.push(field);
      return undefined;
    };
    const readable = <T>(what: string, decode: () => T): T | undefined => {
      try {
        return decode();
      } catch {
        if (!isForgotten) damages.push(what);
        return undefined;
      }
    };
    const definition = readable('definition', () => decodeDefinition(saleId, fields));
    const position = wholeNumber('position');
    for (const field of ['tickets', 'time', 'ahead']) {
      if (fields.has(field)) wholeNumber(field);
    }
    if (!isForgotten) {
      if (!fields.has('fence')) damages.push('fence');
      if (!OUTCOMES.has(fields.get('operationOutcome'))) damages.push('operationOutcome');
    }
    const gaps = fields.get('gaps') ?? '';
    const areGapsReadable = /^(\d+:\d+ )*$/.test(gaps);
    if (!areGapsReadable) damages.push('gaps');
    const skuStock =
      definition && readable('stock', () => decodeStock(definition.skus, fields, counts));
    const needed = new Set<SaleKey>();
    if (areGapsReadable && position !== undefined && ordinalOf(position, parseGaps(gaps)) > 0) {
      needed.add('order').add('buyers');
    }
    if (skuStock?.some(({ held }) => held > 0)) needed.add('holds');
    if (skuStock?.some(({ waiting }) => waiting > 0)) needed.add('line').add('waiting');
    for (const key of needed) {
      if (types[WAITLIST_KEYS.indexOf(key as never)] === 'none') damages.push(`no ${key}`);
    }
    return {
      nowMs: Number(nowMs),
      isForgotten,
      fence: fields.get('fence') ?? '',
      decidedOn: fields.get('fence') || (fields.get('lastFence') ?? ''),
      closing: fields.get('closing') ?? '',
      wasPromoted: fields.has('wasPromoted'),
      timeline: wholeNumber('timeline'),
      position,
      events: wholeNumber('events'),
      drained: wholeNumber('drained'),
      operation: wholeNumber('operation'),
      operationOutcome: fields.get('operationOutcome') ?? '',
      gaps,
      definition,
      stock: skuStock,
      keys,
      damages,
    };
  },
});
