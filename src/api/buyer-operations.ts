/**
 * The buyers' API as a table of operations. The hot path serves its routes and validates bodies from it, and the admin
 * generates the OpenAPI document from it.
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
 * The items of a purchase: none (an empty body parses as undefined: one unit of the sale's only SKU), one SKU, or
 * several SKUs, which are reserved all or nothing.
 */
export const buyBody = z.union([z.undefined(), itemSchema, z.strictObject({ items: itemsSchema })]);

/** Defaults: one unit, of the sale's only SKU. */
export const waitlistBody = z.strictObject({
  sku: skuSchema.optional(),
  quantity: quantitySchema.default(1),
});

const waitlistEntrySchema = z
  .object({
    saleId: z.string(),
    sku: z.string(),
    quantity: z.int(),
    place: z
      .int()
      .describe('Rank on the waitlist, from 1: the lowest rank whose quantity is free is served.'),
  })
  .meta({ id: 'WaitlistPlace' });

const waitsSchema = z
  .array(waitlistEntrySchema.omit({ saleId: true }))
  .describe('What the buyer waits for now; nothing once the sale has ended.');

const buyerInSaleSchema = z
  .object({
    saleId: z.string(),
    buyerId: z.string(),
    reservations: z
      .array(reservationSchema)
      .describe('All living reservations, and the 20 newest others.'),
    waitlist: waitsSchema,
    perBuyerLimit: z.int(),
    remainingAllowance: z
      .int()
      .describe(
        'Units that the buyer may still reserve within the limit; 0 also for a buyer with 20 living reservations.',
      ),
    skus: z
      .array(z.object({ sku: z.string(), perBuyerLimit: z.int(), remainingAllowance: z.int() }))
      .describe('Each SKU with a limit of its own, and the units that both limits still allow.'),
    tooManyHoldsUntil: z.iso
      .datetime()
      .nullable()
      .describe(
        'Until then, purchases and the waitlist refuse this buyer with `too_many_holds`; null: they do not.',
      ),
  })
  .meta({ id: 'BuyerInSale' });

const saleParams = z.object({ saleId: saleIdSchema });
const anyBuyer = ['unauthorized', 'rate_limited', 'unavailable'] as const;
const inSale = [...anyBuyer, 'sale_not_found', 'method_not_allowed', 'sale_ended'] as const;
const ownReservation = [
  ...anyBuyer,
  'reservation_not_found',
  'method_not_allowed',
  'sale_ended',
] as const;
const ordering = [
  'limit_reached',
  'too_many_holds',
  'sale_not_started',
  'sale_paused',
  'payload_too_large',
  'invalid_request',
] as const;
const anySale = ['sale_not_found', 'method_not_allowed', 'sale_ended', 'invalid_request'] as const;
const retryable = ['recovering', 'overloaded'] as const;

export const BUYER_OPERATIONS = [
  {
    operationId: 'buy',
    method: 'POST',
    path: '/v1/sales/{saleId}/buy',
    tag: 'Buyers',
    summary: 'Reserve units, first come, first served',
    description:
      'Safe to repeat after any failure: a request with the same Idempotency-Key and the same body gets the first response again. Without a key, the buyer and the basket are the key: the same basket gets the same reservation while that is `reserved` or `confirmed`, also if the waitlist gave it; another basket is another purchase, within the limit. After the reservation is cancelled or has expired, the same basket is a new purchase. Baskets are the same in any order and in any form of the body. An empty body requests one unit of the only SKU of the sale.',
    access: 'buyer',
    params: saleParams,
    headers: z.object({ ...tracingHeaders, 'idempotency-key': idempotencyKeySchema.optional() }),
    body: buyBody,
    responses: {
      201: { description: 'Reserved until `expiresAt`.', schema: reservationSchema },
      200: {
        description: 'A repeated request: the same reservation in its current state.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': 'Always `true` here.' },
      },
    },
    problems: [
      ...inSale,
      'sold_out',
      'insufficient_stock',
      ...ordering,
      'idempotency_key_reused',
      ...retryable,
    ],
  },
  {
    operationId: 'getSale',
    method: 'GET',
    path: '/v1/sales/{saleId}',
    tag: 'Buyers',
    summary: 'The sale and its remaining units, at most 250 ms old',
    access: 'public',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: { 200: { description: 'The sale.', schema: saleViewSchema } },
    problems: [...anySale, 'rate_limited', 'recovering', 'unavailable'],
  },
  {
    operationId: 'getMine',
    method: 'GET',
    path: '/v1/sales/{saleId}/me',
    tag: 'Buyers',
    summary: "The buyer's reservations in this sale, and the remaining allowance",
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: {
      200: { description: 'The state of the buyer in this sale.', schema: buyerInSaleSchema },
    },
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
    summary: 'Release a reservation',
    description:
      'Returns the units to the waitlist or to the sale, and the allowance to the buyer, in one step. Safe to repeat. Only the merchant can cancel a confirmed reservation.',
    access: 'buyer',
    params: z.object({ reservationId: z.string() }),
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'The reservation is cancelled.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': '`true` if it was already cancelled.' },
      },
    },
    problems: [...ownReservation, 'invalid_transition', ...retryable],
  },
  {
    operationId: 'joinWaitlist',
    method: 'POST',
    path: '/v1/sales/{saleId}/waitlist',
    tag: 'Buyers',
    summary: 'Join the waitlist of a SKU',
    description:
      'Only for a quantity that is not on sale now. Units may be loaded later, so a buyer can also wait for a SKU without units, and for more units than are loaded. Free units go to the first buyer on the waitlist whose quantity is free, as a new hold with its own deadline (`waitlistHoldSeconds` of the sale). Units that are too few for every waiting buyer are on sale for everyone; the waiting buyers keep their ranks. A buyer waits once for each SKU. Joining again with the same quantity gets the current rank. Joining with another quantity is 409 `invalid_transition` and changes nothing: `sku`, `quantity` and `place` say what is stored; leave first to wait for another quantity. A quantity above a limit is refused, and a waiting buyer whose quantity is above a lowered limit leaves the waitlist. The units that a buyer waits for count against the limit. While the sale is paused, buyers keep their ranks and nobody can join; when it has ended, nobody waits any more.',
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    body: waitlistBody.optional(),
    responses: {
      201: { description: 'On the waitlist.', schema: waitlistEntrySchema },
      200: {
        description: 'Already on the waitlist for this quantity, with the current rank.',
        schema: waitlistEntrySchema,
        headers: { 'Idempotent-Replayed': 'Always `true` here.' },
      },
    },
    problems: [...inSale, 'invalid_transition', ...ordering, ...retryable],
    conflictFields: {
      sku: z
        .string()
        .optional()
        .describe(
          'With `limit_reached`: the SKU whose limit it is. With `invalid_transition`: the SKU that the buyer already waits for; absent if the quantity is on sale.',
        ),
      quantity: waitlistEntrySchema.shape.quantity
        .optional()
        .describe('With `sku` of `invalid_transition`: the quantity that the buyer waits for.'),
      place: waitlistEntrySchema.shape.place
        .optional()
        .describe('With `sku` of `invalid_transition`: the rank on the waitlist.'),
      waitlist: waitsSchema
        .optional()
        .describe(
          'With `limit_reached`: what the buyer waits for, which counts against the limit.',
        ),
    },
  },
  {
    operationId: 'leaveWaitlist',
    method: 'DELETE',
    path: '/v1/sales/{saleId}/waitlist',
    tag: 'Buyers',
    summary: 'Leave the waitlists of a sale',
    access: 'buyer',
    params: saleParams,
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'On no waitlist of the sale.',
        schema: z.object({
          saleId: z.string(),
          left: z.int().describe('The number of waitlists left.'),
          waitlist: waitsSchema,
        }),
      },
    },
    problems: [...inSale, ...retryable],
  },
  {
    operationId: 'watchSale',
    method: 'GET',
    path: '/v1/sales/{saleId}/live',
    tag: 'Buyers',
    summary: 'A WebSocket with the changes of the sale and of the buyer’s own state',
    description:
      'Every client gets the changes of the sale. A client with a token also gets its own reservations and waitlist ranks. Browsers cannot set headers here, so they offer the subprotocols `flash-sale` and `bearer.<token>`. The current state is sent first, so a client only needs to reconnect after a close. Close codes: 1012 if the process restarts, 4410 if the sale was archived, 1008 for a client that sends too much, 1006 for one that does not read. A connection ends after an hour.',
    access: 'public',
    params: saleParams,
    headers: z.object({
      ...tracingHeaders,
      authorization: z
        .string()
        .optional()
        .describe('`Bearer` and the token; without it: the sale only.'),
      'sec-websocket-protocol': z
        .string()
        .optional()
        .describe('`flash-sale`, or `flash-sale, bearer.<token>`.'),
    }),
    responses: {
      101: {
        description: 'A WebSocket with messages of these types.',
        schema: liveMessageSchema,
      },
    },
    problems: [
      'unauthorized',
      'forbidden',
      'rate_limited',
      ...anySale,
      ...retryable,
      'unavailable',
    ],
  },
] as const satisfies readonly ApiOperation[];
