/** What the shop that takes the payment does to a reservation: confirm, cancel, extend. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { reservationSchema, tracingHeaders } from '../../api/schemas.ts';
import type { Servers } from '../context.ts';
import { CHANGE_PROBLEMS } from '../http/outcome.ts';
import { pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { type MerchantTransition, transitionReservation } from './transition-reservation.ts';

const TEXT_LENGTH_MAX = 200;

const CONFIRM = {
  ...operationOf('confirm', 'The payment has come: what was held is sold'),
  body: z
    .strictObject({
      paymentRef: textSchema(TEXT_LENGTH_MAX).optional().describe("The payment's id, for history."),
    })
    .nullish(),
} as const satisfies ApiOperation;

const CANCEL = {
  ...operationOf('cancel', 'Give back what is held, or refund what was confirmed'),
  body: z
    .strictObject({ reason: textSchema(TEXT_LENGTH_MAX).optional().describe('For history.') })
    .nullish(),
} as const satisfies ApiOperation;

const EXTEND = {
  ...operationOf('extend', 'A payment is under way: hold for as long again, once'),
  body: z.strictObject({}).nullish(),
} as const satisfies ApiOperation;

export function serveMerchants(app: FastifyInstance, servers: Servers): void {
  for (const [move, operation] of [
    ['confirm', CONFIRM],
    ['cancel', CANCEL],
    ['extend', EXTEND],
  ] as const) {
    serveOperation(app, operation, ({ params, headers, body, caller }) =>
      transitionReservation(servers, {
        ...params,
        ...body,
        move,
        caller,
        traceparent: headers.traceparent,
      }),
    );
  }
}

function operationOf(move: MerchantTransition, summary: string) {
  return {
    operationId: `${move}Reservation`,
    method: 'POST',
    path: `/admin/v1/reservations/{reservationId}/${move}`,
    tag: 'Merchants',
    summary,
    description:
      'Done once, however often it is asked: after any failure the same request may be sent again. Works while PostgreSQL is away.',
    access: 'merchant',
    params: z.object({ reservationId: pathIdSchema }),
    headers: z.object(tracingHeaders),
    responses: {
      200: {
        description: 'The reservation as it is now.',
        schema: reservationSchema,
        headers: { 'Idempotent-Replayed': '`true` where an earlier request had done it.' },
      },
    },
    problems: [...CHANGE_PROBLEMS, 'reservation_not_found', 'invalid_transition'],
  } as const satisfies ApiOperation;
}
