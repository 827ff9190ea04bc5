/** The body of a buy: bytes to a canonical basket, remembering the few bodies that a sale's buyers all send. */
import { LRUCache } from 'lru-cache';
import { buyBody } from '../../api/buyer-operations.ts';
import type { FieldError } from '../../api/problems.ts';
import { canonicalItems } from '../../domain/reservation-codec.ts';
import { fieldErrorsOf, jsonOf, NOT_JSON } from '../http/json-body.ts';

/** `items` is canonical (see domain/reservation.ts), or empty when the body names none. */
export type ParsedBody = { items: string } | { errors: FieldError[] };

const BODIES_REMEMBERED_MAX = 1_000;
/** Long ones are not remembered, so that strangers can't fill the memory with them. */
const REMEMBERED_BYTES_MAX = 256;

const [, ONE_SKU, BASKET] = buyBody.options;

export class BuyBodies {
  readonly #remembered = new LRUCache<string, ParsedBody>({ max: BODIES_REMEMBERED_MAX });
  #last: { body: Buffer; parsed: ParsedBody } = { body: Buffer.alloc(0), parsed: { items: '' } };

  parse(body: Buffer): ParsedBody {
    // Nearly everybody sends what the one before has sent.
    if (body.equals(this.#last.body)) return this.#last.parsed;
    const parsed = this.#parse(body);
    this.#last = { body: Buffer.from(body), parsed };
    return parsed;
  }

  #parse(body: Buffer): ParsedBody {
    if (body.length === 0) return { items: '' };
    if (body.length > REMEMBERED_BYTES_MAX) return parseBody(body);
    const bytes = body.toString('latin1');
    let parsed = this.#remembered.get(bytes);
    if (!parsed) {
      parsed = parseBody(body);
      this.#remembered.set(bytes, parsed);
    }
    return parsed;
  }
}

function parseBody(body: Buffer): ParsedBody {
  const value = jsonOf(body);
  if (value === undefined) return { errors: [NOT_JSON] };
  // Of the forms that a body can have, the one it comes nearest to names its mistakes best.
  const form = isBasket(value) ? BASKET : ONE_SKU;
  const result = form.safeParse(value);
  if (!result.success) return { errors: fieldErrorsOf(result.error) };
  const asked = result.data;
  return { items: canonicalItems('items' in asked ? asked.items : [asked]) };
}

function isBasket(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'items' in value;
}
