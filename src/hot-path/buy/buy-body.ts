/** Parses the body of a purchase into canonical items, with caches, because most buyers of a sale send the same bytes. */
import { LRUCache } from 'lru-cache';
import { buyBody } from '../../api/buyer-operations.ts';
import type { FieldError } from '../../api/problems.ts';
import { canonicalItems } from '../../domain/reservation-codec.ts';
import { fieldErrorsOf, NOT_JSON, parseJson, unknownSkus } from '../http/request-validation.ts';
import type { PreparedResponse } from '../http/responses.ts';

export interface Basket {
  /** Canonical, see domain/reservation-codec.ts; empty if the body names no items. */
  items: string;
  /** The SKUs in the order of the body's `items`; empty if the body has no such field. */
  skus: readonly string[];
}

export type ParsedBody = Basket | { errors: FieldError[] };

/** The response to a basket with SKUs that the sale does not have. */
export function unknownSkusResponse(
  { skus }: Basket,
  unknown: readonly string[],
): PreparedResponse {
  const indexes = unknown.map((sku) => skus.indexOf(sku)).sort((a, b) => a - b);
  return unknownSkus(indexes.map((index) => (index === -1 ? 'sku' : `items.${index}.sku`)));
}

const CACHED_BODIES_MAX = 1_000;
/** Longer bodies are not cached, so that clients cannot fill the memory. */
const CACHED_BYTES_MAX = 256;
const NO_ITEMS: ParsedBody = { items: '', skus: [] };

const [, ONE_SKU, BASKET] = buyBody.options;

/**
 * Two levels, since a body is bytes and memoizeLast compares by identity. Measured for a body of 28 bytes: 80 ns if it
 * equals the last one, 380 ns from the LRU cache, 1,500 ns if it is parsed.
 */
export class BuyBodies {
  readonly #cache = new LRUCache<string, ParsedBody>({ max: CACHED_BODIES_MAX });
  #last: { body: Buffer; parsed: ParsedBody } = { body: Buffer.alloc(0), parsed: NO_ITEMS };

  parse(body: Buffer): ParsedBody {
    if (body.length === 0) return NO_ITEMS;
    if (body.equals(this.#last.body)) return this.#last.parsed;
    const parsed = body.length > CACHED_BYTES_MAX ? parseBody(body) : this.#parseCached(body);
    this.#last = { body: Buffer.from(body), parsed };
    return parsed;
  }

  #parseCached(body: Buffer): ParsedBody {
    const bytes = body.toString('latin1');
    let parsed = this.#cache.get(bytes);
    if (!parsed) {
      parsed = parseBody(body);
      this.#cache.set(bytes, parsed);
    }
    return parsed;
  }
}

function parseBody(body: Buffer): ParsedBody {
  const value = parseJson(body);
  if (value === undefined) return { errors: [NOT_JSON] };
  // The schema of the form that the body resembles gives the most useful errors.
  const form = isBasket(value) ? BASKET : ONE_SKU;
  const result = form.safeParse(value);
  if (!result.success) return { errors: fieldErrorsOf(result.error) };
  const order = result.data;
  if (!('items' in order)) return { items: canonicalItems([order]), skus: [] };
  return { items: canonicalItems(order.items), skus: order.items.map(({ sku }) => sku) };
}

function isBasket(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'items' in value;
}
