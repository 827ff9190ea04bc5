/**
 * The buyers' API as a table. The hot path validates bodies with these schemas, and the OpenAPI document that the
 * admin serves is generated from the same table.
 */
import { z } from 'zod';
import type { ApiOperation } from './operation.ts';
import {
  idempotencyKeySchema,
  itemSchema,
  itemsSchema,
  liveMessageSchema,
  quantitySchema,
  reservationSchema,
  saleIdSchema,
  saleViewSchema,
  skuSchema,
  tracingHeaders,
} from './schemas.ts';

/**
 * What a buy asks for: nothing (one unit of the sale's only SKU; an empty body parses as undefined), one SKU, or a
 * basket, which is decided all or nothing.
 */
export const buyBody = z.union([z.undefined(), itemSchema, z.strictObject({ items: itemsSchema })]);

/** What to wait for: one unit of the sale's only SKU, unless said otherwise. */
export const waitlistBody = z.strictObject({
  sku: skuSchema.optional(),
  quantity: quantitySchema.default(1),
});

export const waitlistEntrySchema = z
  .object({
    saleId: z.string(),
    sku: z.string(),
    quantity: z.int(),
    place: z.int().describe('Counted from 1; the next units go to place 1.'),
  })
  .meta({ id: 'WaitlistPlace' });

export const buyerInSaleSchema = z
  .object({
    saleId: z.string(),
    buyerId: z.string(),
    reservations: z.array(reservationSchema),
    waitlist: z.array(waitlistEntrySchema.omit({ saleId: true })),
    perBuyerLimit: z.int(),
    remainingAllowance: z.int().describe('Units that the limit still allows this buyer.'),
  })
  .meta({ id: 'BuyerInSale' });

const saleParams = z.object({ saleId: saleIdSchema });
const anyBuyer = ['unauthorized', 'rate_limited', 'unavailable'] as const;
const inSale = [...anyBuyer, 'sale_not_found', 'method_not_allowed'] as const;
const ownReservation = [...anyBuyer, 'reservation_not_found', 'method_not_allowed'] as const;
const ordering = [
  'insufficient_stock',
  'limit_reached',
  'sale_not_started',
  'sale_paused',
  'sale_ended',
  'payload_too_large',
  'invalid_request',
] as const;
const retryable = ['recovering', 'overloaded'] as const;

export const BUYER_OPERATIONS = [
  {
    operationId: 'buy',
    method: 'POST',
    path: '/v1/sales/{saleId}/buy',
    tag: 'Buyers',
    summary: 'Reserve, first come, first served',
    description:
      'Safe to repeat after any failure: the same Idempotency-Key with the same body gets the answer the first one got. Without a key the buyer is the key, for as long as the reservation lives. An empty body asks for one unit of the only SKU of the sale.',
    access: 'buyer',
    params: saleParams,
    headers: z.object({ ...tracingHeaders, 'idempotency-key': idempotencyKeySchema.optional() }),
    body: buyBody,
    responses: {
      201: { description: 'Reserved, until `expiresAt`.', schema: reservationSchema },
      200: {
        description: 'This request was answered before; the same reservation as it stands now.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': 'Always `true` here.' },
      },
    },
    problems: [...inSale, 'sold_out', ...ordering, 'idempotency_key_reused', ...retryable],
  },
  {
    operationId: 'getSale',
    method: 'GET',
    path: '/v1/sales/{saleId}',
    tag: 'Buyers',
    summary: 'The sale and what is left, at most 250 ms old',
    access: 'public',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: { 200: { description: 'The sale.', schema: saleViewSchema } },
    problems: [
      'sale_not_found',
      'method_not_allowed',
      'invalid_request',
      'rate_limited',
      'recovering',
      'unavailable',
    ],
  },
  {
    operationId: 'getMine',
    method: 'GET',
    path: '/v1/sales/{saleId}/me',
    tag: 'Buyers',
    summary: "The buyer's reservations in this sale, and what the limit still allows",
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: { 200: { description: 'What the buyer has.', schema: buyerInSaleSchema } },
    problems: [...inSale, 'invalid_request', ...retryable],
  },
  {
    operationId: 'getReservation',
    method: 'GET',
    path: '/v1/reservations/{reservationId}',
    tag: 'Buyers',
    summary: "The buyer's own reservation",
    access: 'buyer',
    params: z.object({ reservationId: z.string() }),
    headers: z.object(tracingHeaders),
    responses: { 200: { description: 'The reservation.', schema: reservationSchema } },
    problems: [...ownReservation, ...retryable],
  },
  {
    operationId: 'giveBack',
    method: 'POST',
    path: '/v1/reservations/{reservationId}/cancel',
    tag: 'Buyers',
    summary: 'Give a reservation back',
    description:
      'Units and allowance return in the same step, to whoever waits first. Repeatable. What is confirmed can only be cancelled by the merchant.',
    access: 'buyer',
    params: z.object({ reservationId: z.string() }),
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'It is cancelled.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': '`true` when it was cancelled before.' },
      },
    },
    problems: [...ownReservation, 'invalid_transition', ...retryable],
  },
  {
    operationId: 'joinWaitlist',
    method: 'POST',
    path: '/v1/sales/{saleId}/waitlist',
    tag: 'Buyers',
    summary: 'Join the line for what is sold out',
    description:
      'Units that return go to the first in line, as a fresh hold with its own deadline, before anybody else sees them. What one waits for counts against the limit.',
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    body: waitlistBody.optional(),
    responses: {
      201: { description: 'In line.', schema: waitlistEntrySchema },
      200: {
        description: 'In line already; the place as it is now.',
        schema: waitlistEntrySchema,
        headers: { 'Idempotent-Replayed': 'Always `true` here.' },
      },
    },
    problems: [...inSale, 'invalid_transition', ...ordering, ...retryable],
  },
  {
    operationId: 'leaveWaitlist',
    method: 'DELETE',
    path: '/v1/sales/{saleId}/waitlist',
    tag: 'Buyers',
    summary: 'Leave the lines of a sale',
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'In none of its lines any more.',
        schema: z.object({ saleId: z.string(), left: z.int().describe('Lines that were left.') }),
      },
    },
    problems: [...inSale, ...retryable],
  },
  {
    operationId: 'watchSale',
    method: 'GET',
    path: '/v1/sales/{saleId}/live',
    tag: 'Buyers',
    summary: 'The sale, and what is one’s own in it, as they change: a WebSocket',
    description:
      'Everybody hears of the sale; who shows a token also hears of their own reservations and places in line. Browsers, which can set no header here, offer the subprotocols `flash-sale` and `bearer.<token>`. The present state comes first, so coming back is all there is to do after a close: 1012 when the process restarts, 1008 for a client that talks, 1006 for one that does not read, and after an hour.',
    access: 'public',
    params: saleParams,
    headers: z.object({
      ...tracingHeaders,
      authorization: z.string().optional().describe('`Bearer` and the token; none: the sale only.'),
      'sec-websocket-protocol': z
        .string()
        .optional()
        .describe('`flash-sale`, or `flash-sale, bearer.<token>`.'),
    }),
    responses: {
      101: {
        description: 'A WebSocket; each of its messages is one of these.',
        schema: liveMessageSchema,
      },
    },
    problems: [
      'unauthorized',
      'rate_limited',
      'sale_not_found',
      'method_not_allowed',
      'invalid_request',
      'recovering',
      'overloaded',
      'unavailable',
    ],
  },
] as const satisfies readonly ApiOperation[];
