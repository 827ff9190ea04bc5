/**
 * The JSON that both APIs speak: the pieces of requests and answers that more than one operation uses. Patterns
 * and limits are those of identifiers.ts; money is integer minor units, times are ISO 8601 UTC with milliseconds.
 */
import { z } from 'zod';
import {
  ITEMS_MAX,
  QUANTITY_MAX,
  REQUEST_ID,
  SALE_ID,
  SKU,
  TRACEPARENT,
  VISIBLE_ASCII_64,
} from '../domain/identifiers.ts';
import { RESERVATION_STATUSES } from '../domain/reservation.ts';
import { SALE_STATUSES } from '../domain/sale.ts';

export const saleIdSchema = z.string().regex(SALE_ID, {
  error: 'wants 1 to 40 of a-z, 0-9 and -, not beginning with -',
});
export const skuSchema = z.string().regex(SKU, {
  error: 'wants 1 to 40 letters, digits, _ or -, beginning with a letter or digit',
});
export const buyerIdSchema = z
  .string()
  .regex(VISIBLE_ASCII_64, { error: 'wants 1 to 64 visible ASCII characters' });
export const idempotencyKeySchema = z
  .string()
  .regex(VISIBLE_ASCII_64, { error: 'wants 1 to 64 visible ASCII characters' });

/** A point in time as every answer writes it. */
export const timeSchema = z.string().meta({ format: 'date-time' });

/** Headers that every operation understands; what is not well-formed is ignored, never refused. */
export const tracingHeaders = {
  'x-request-id': z
    .string()
    .optional()
    .describe(
      `Comes back with the answer where it matches ${REQUEST_ID.source}; else one is made.`,
    ),
  traceparent: z
    .string()
    .optional()
    .describe(`W3C Trace Context, passed on where it matches ${TRACEPARENT.source}.`),
};

export const quantitySchema = z.int().min(1).max(QUANTITY_MAX);

export const itemSchema = z.strictObject({ sku: skuSchema, quantity: quantitySchema.default(1) });

export const itemsSchema = z
  .array(itemSchema)
  .min(1)
  .max(ITEMS_MAX)
  .superRefine((items, context) => {
    const seen = new Set<string>();
    for (const [index, { sku }] of items.entries()) {
      if (seen.has(sku)) {
        context.addIssue({ code: 'custom', path: [index, 'sku'], message: 'is named twice' });
      }
      seen.add(sku);
    }
  });

export const reservationSchema = z
  .object({
    reservationId: z.string(),
    saleId: z.string(),
    buyerId: z.string(),
    status: z.enum(RESERVATION_STATUSES),
    items: z.array(z.object({ sku: z.string(), quantity: z.int(), unitPrice: z.int() })),
    total: z.int().describe('Minor units.'),
    currency: z.string().describe('ISO 4217.'),
    position: z
      .int()
      .describe("Counts the sale's reservations from 1 in the order of decision; never reused."),
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
      }),
    ),
  })
  .meta({ id: 'SaleView' });

/** What a WebSocket of a sale carries, one JSON object a message. */
export const liveMessageSchema = z
  .discriminatedUnion('type', [
    z
      .object({
        type: z.literal('sale'),
        saleId: z.string(),
        status: saleStatusSchema,
        serverTime: timeSchema,
        skus: z.array(z.object({ sku: z.string(), remaining: z.int(), soldOut: z.boolean() })),
      })
      .describe(
        'To everybody: first of all, then when it has changed, four times a second at most.',
      ),
    z
      .object({ type: z.literal('reservation'), reservation: reservationSchema })
      .describe("The buyer's own: each that there is, then each change."),
    z
      .object({
        type: z.literal('waitlist'),
        saleId: z.string(),
        sku: z.string(),
        quantity: z.int(),
        place: z.int().describe('Counted from 1; 0: no longer in line.'),
        state: z.enum(['waiting', 'served', 'left']),
      })
      .describe("The buyer's own places in line, once a second at most."),
  ])
  .meta({ id: 'LiveMessage' });

export const healthSchema = z
  .object({
    status: z.enum(['ok', 'unready']),
    missing: z.array(z.string()).describe('What this process still waits for.'),
  })
  .meta({ id: 'Health' });
