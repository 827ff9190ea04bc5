/**
 * The JSON schemas that several operations share. Patterns and limits come from identifiers.ts. Money is in integer minor
 * units; times are ISO 8601 UTC with milliseconds.
 */
import { z } from 'zod';
import {
  ITEMS_MAX,
  isIdempotencyKey,
  QUANTITY_MAX,
  REQUEST_ID,
  SALE_ID,
  SKU,
  TRACEPARENT,
  VISIBLE_ASCII_64,
} from '../domain/identifiers.ts';
import { RESERVATION_SOURCES, RESERVATION_STATUSES } from '../domain/reservation.ts';
import { SALE_STATUSES } from '../domain/sale.ts';

export const saleIdSchema = z.string().regex(SALE_ID, {
  error: 'must be 1 to 40 characters of a-z, 0-9 and -, and must not begin with -',
});
export const skuSchema = z.string().regex(SKU, {
  error: 'must be 1 to 40 letters, digits, _ or -, and must begin with a letter or digit',
});
export const buyerIdSchema = z
  .string()
  .regex(VISIBLE_ASCII_64, { error: 'must be 1 to 64 visible ASCII characters' });

/** The only message about an `Idempotency-Key`, in both APIs. */
export const IDEMPOTENCY_KEY_RULE = 'must be sent once, as 1 to 64 visible ASCII characters';

export const IDEMPOTENCY_KEY_DESCRIPTION =
  'Names the request: a repeated request with the same key takes effect once. Send the header at most once, as 1 to 64 visible ASCII characters. Any other header is 422 `invalid_request` and changes nothing: one that is empty, blank, too long or repeated, or has other characters, or is a comma-separated list that has a key twice, as proxies may join repeated headers.';

/** Only the pattern is in the JSON schema. A message of its own would be a second error of the field. */
export const idempotencyKeySchema = z
  .string()
  .regex(VISIBLE_ASCII_64, { error: IDEMPOTENCY_KEY_RULE, abort: true })
  .refine(isIdempotencyKey, { error: IDEMPOTENCY_KEY_RULE })
  .describe(IDEMPOTENCY_KEY_DESCRIPTION);

/** The format of times in all responses. */
export const timeSchema = z.string().meta({ format: 'date-time' });

/** Headers of every operation. A malformed value is ignored, not rejected. */
export const tracingHeaders = {
  'x-request-id': z
    .string()
    .optional()
    .describe(
      `Returned with the response if it matches ${REQUEST_ID.source}; otherwise the server generates one.`,
    ),
  traceparent: z
    .string()
    .optional()
    .describe(`W3C Trace Context, propagated if it matches ${TRACEPARENT.source}.`),
};

export const quantitySchema = z.int().min(1).max(QUANTITY_MAX);

export const itemSchema = z.strictObject({ sku: skuSchema, quantity: quantitySchema.default(1) });

/** A SKU can appear once. */
export function itemListOf<Item extends z.ZodType<{ sku: string }>>(item: Item) {
  return z
    .array(item)
    .min(1)
    .max(ITEMS_MAX)
    .superRefine((items, context) => {
      const seen = new Set<string>();
      for (const [index, { sku }] of items.entries()) {
        if (seen.has(sku)) {
          context.addIssue({
            code: 'custom',
            path: [index, 'sku'],
            message: 'must not appear twice',
          });
        }
        seen.add(sku);
      }
    });
}

export const itemsSchema = itemListOf(itemSchema);

/** An item of a reservation. */
export const ownItemSchema = z.object({
  sku: z.string(),
  quantity: z
    .int()
    .describe(
      'Units that are left; 0 if all units of this SKU were cancelled, and other items not.',
    ),
  cancelled: z
    .int()
    .optional()
    .describe('Units that a merchant has cancelled while others were left; absent: none.'),
  unitPrice: z.int(),
});

export const sourceSchema = z
  .enum(RESERVATION_SOURCES)
  .describe(
    '`purchase`: the buyer bought the units. `waitlist`: the waitlist gave them to the buyer.',
  );

export const reservationSchema = z
  .object({
    reservationId: z.string(),
    saleId: z.string(),
    buyerId: z.string(),
    status: z.enum(RESERVATION_STATUSES),
    items: z.array(ownItemSchema),
    total: z.int().describe('Of the units that are left, in minor units.'),
    currency: z.string().describe('ISO 4217.'),
    position: z.int().describe("Position in the sale's order of decisions, from 1; never reused."),
    source: sourceSchema,
    reservedAt: timeSchema,
    expiresAt: timeSchema,
  })
  .meta({ id: 'Reservation' });

export const saleStatusSchema = z.enum(SALE_STATUSES);

/** A sale as buyers see it. */
export const saleViewSchema = z
  .object({
    saleId: z.string(),
    name: z.string(),
    status: saleStatusSchema,
    startsAt: timeSchema.nullable(),
    endsAt: timeSchema.nullable(),
    serverTime: timeSchema,
    skus: z.array(
      z.object({
        sku: z.string(),
        name: z.string(),
        price: z.int().describe('Minor units.'),
        currency: z.string(),
        remaining: z.int(),
        soldOut: z.boolean(),
        perBuyerLimit: z
          .int()
          .optional()
          .describe('Units of this SKU that one buyer may have; absent: no limit of its own.'),
      }),
    ),
  })
  .meta({ id: 'SaleView' });

/** The messages of a sale's WebSocket, one JSON object each. */
export const liveMessageSchema = z
  .discriminatedUnion('type', [
    z
      .object({
        type: z.literal('sale'),
        saleId: z.string(),
        status: saleStatusSchema,
        startsAt: timeSchema.nullable(),
        endsAt: timeSchema.nullable(),
        serverTime: timeSchema,
        skus: z.array(z.object({ sku: z.string(), remaining: z.int(), soldOut: z.boolean() })),
      })
      .describe(
        'To every client: first after connecting, then after each change and at the start and the end, at most four times a second. An open sale has started if `serverTime` is at or after `startsAt`. The message of the start is spread over 250 ms, or over more for more than 2,500 clients of a process, so clients should also count down by `serverTime`.',
      ),
    z
      .object({ type: z.literal('reservation'), reservation: reservationSchema })
      .describe("The buyer's own reservations: all existing ones, then each change."),
    z
      .object({
        type: z.literal('waitlist'),
        saleId: z.string(),
        sku: z.string(),
        quantity: z.int(),
        place: z.int().describe('Rank on the waitlist, from 1; 0: no longer on the waitlist.'),
        state: z
          .enum(['waiting', 'served', 'left'])
          .describe(
            '`waiting`: `quantity` is what is stored. `served`: a reservation for it exists. `left`: the buyer or the engine ended the wait, or the sale has ended.',
          ),
      })
      .describe("The buyer's own ranks on waitlists, at most once a second."),
  ])
  .meta({ id: 'LiveMessage' });

export const healthSchema = z
  .object({
    status: z.enum(['ok', 'unready']),
    missing: z.array(z.string()).describe('The dependencies that are not ready.'),
    reasons: z
      .array(z.string())
      .optional()
      .describe('Why Redis is rejected although it replies: each with the settings to change.'),
  })
  .meta({ id: 'Health' });
