/** The transitions that a merchant can request: confirm, cancel and extend a reservation. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import {
  IDEMPOTENCY_KEY_DESCRIPTION,
  idempotencyKeySchema,
  itemListOf,
  quantitySchema,
  reservationSchema,
  skuSchema,
  tracingHeaders,
} from '../../api/schemas.ts';
import type { Servers } from '../context.ts';
import { CHANGE_PROBLEMS } from '../http/outcome.ts';
import { pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { type MerchantTransition, transitionReservation } from './transition-reservation.ts';

const TEXT_LENGTH_MAX = 200;

const TRANSITION_PROBLEMS = [
  ...CHANGE_PROBLEMS,
  'reservation_not_found',
  'invalid_transition',
] as const;

const CONFIRM = {
  ...operationOf('confirm', 'Confirm a reservation that has been paid'),
  body: z
    .strictObject({
      paymentRef: textSchema(TEXT_LENGTH_MAX)
        .optional()
        .describe(
          'The id of the payment. Confirming again with the same one replays; with another one it is 409 `payment_conflict`, with the recorded one in `paymentRef`. If the reservation was confirmed without one, it is added.',
        ),
      reclaim: z
        .boolean()
        .optional()
        .describe(
          "Confirms the reservation also after its hold has expired, in one step, if its units are still free. They count against the buyer's limit again, which they must not exceed. Otherwise 409 `sold_out` or `insufficient_stock` with `items`, or `limit_reached`. Also in an archived sale.",
        ),
    })
    .nullish(),
  problems: [
    ...TRANSITION_PROBLEMS,
    'payment_conflict',
    'sold_out',
    'insufficient_stock',
    'limit_reached',
  ],
} as const satisfies ApiOperation;

const CANCEL = {
  ...operationOf(
    'cancel',
    'Cancel a reserved or confirmed reservation; its units are on sale again, or leave the sale',
  ),
  body: z
    .strictObject({
      reason: textSchema(TEXT_LENGTH_MAX).optional().describe('For the history.'),
      restock: z
        .boolean()
        .optional()
        .describe(
          'By default `true`. `false`: the units leave the sale instead of being on sale again, for example because they are damaged; the loaded stock falls. A reservation that was cancelled the other way is 409 `invalid_transition`.',
        ),
      items: itemListOf(z.strictObject({ sku: skuSchema, quantity: quantitySchema }))
        .optional()
        .describe(
          'Cancels only these units. The reservation keeps its status and the other units; `items` in the response has both numbers, and `total` is what is left to pay. If nothing else is left, it is the ordinary cancellation. Without it, all units that are left are cancelled. A SKU that is not in the reservation is 422 at `items.0.sku`, more units than are left at `items.0.quantity`.',
        ),
    })
    .nullish(),
  headers: z.object({
    ...tracingHeaders,
    'idempotency-key': idempotencyKeySchema
      .optional()
      .describe(
        `${IDEMPOTENCY_KEY_DESCRIPTION} Only a cancellation with \`items\` needs one. Without a key, the same \`items\` and \`restock\` are a repetition, also later: to cancel the same units of a reservation once more, send another key.`,
      ),
  }),
  problems: [...TRANSITION_PROBLEMS, 'idempotency_key_reused'],
} as const satisfies ApiOperation;

const EXTEND = {
  ...operationOf(
    'extend',
    'Extend the hold once, by its original duration, while a payment is in progress',
  ),
  body: z.strictObject({}).nullish(),
} as const satisfies ApiOperation;

export function serveMerchants(app: FastifyInstance, servers: Servers): void {
  for (const [transition, operation] of [
    ['confirm', CONFIRM],
    ['cancel', CANCEL],
    ['extend', EXTEND],
  ] as const) {
    serveOperation(app, operation, ({ params, headers, body, caller }) =>
      transitionReservation(servers, {
        ...params,
        ...body,
        transition,
        caller,
        traceparent: headers.traceparent,
        idempotencyKey: (headers as { 'idempotency-key'?: string })['idempotency-key'],
      }),
    );
  }
}

function operationOf(transition: MerchantTransition, summary: string) {
  return {
    operationId: `${transition}Reservation`,
    method: 'POST',
    path: `/admin/v1/reservations/{reservationId}/${transition}`,
    tag: 'Merchants',
    summary,
    description:
      'A repeated request has no further effect, so it can be sent again after any failure. Also works while PostgreSQL is unavailable.',
    access: 'merchant',
    params: z.object({ reservationId: pathIdSchema }),
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'The current state of the reservation.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': '`true` if an earlier request made the transition.' },
      },
    },
    problems: TRANSITION_PROBLEMS,
  } as const satisfies ApiOperation;
}
