/** Reads what can be read of a sale that may be damaged. The contract is the header of examine-sale.lua. */
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

/** What a sale in Redis has. A value is undefined if it is absent or cannot be read. */
export interface Examination {
  /** Redis' clock, ms. */
  nowMs: number;
  /** Redis does not have the sale, or only the placeholder of close-sale. */
  isForgotten: boolean;
  /** The run id of the server that it is open on. */
  fence: string;
  closing: string;
  wasPromoted: boolean;
  timeline: number | undefined;
  position: number | undefined;
  events: number | undefined;
  operation: number | undefined;
  operationOutcome: string;
  gaps: string;
  definition: SaleDefinition | undefined;
  stock: SkuStock[] | undefined;
  /** The keys that exist and have the right type. */
  keys: ReadonlySet<SaleKey>;
  /** What is wrong, such as `status` or `type of order`. Empty for a sale that Redis has forgotten. */
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
    wholeNumber('drained');
    if (fields.has('tickets')) wholeNumber('tickets');
    if (!isForgotten && !fields.has('fence')) damages.push('fence');
    if (!/^(\d+:\d+ )*$/.test(fields.get('gaps') ?? '')) damages.push('gaps');
    return {
      nowMs: Number(nowMs),
      isForgotten,
      fence: fields.get('fence') ?? '',
      closing: fields.get('closing') ?? '',
      wasPromoted: fields.has('wasPromoted'),
      timeline: wholeNumber('timeline'),
      position: wholeNumber('position'),
      events: wholeNumber('events'),
      operation: wholeNumber('operation'),
      operationOutcome: fields.get('operationOutcome') ?? '',
      gaps: fields.get('gaps') ?? '',
      definition,
      stock: definition && readable('stock', () => decodeStock(definition.skus, fields, counts)),
      keys,
      damages,
    };
  },
});
