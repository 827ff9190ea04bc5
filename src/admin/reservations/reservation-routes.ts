/** Listing reservations, getting one with its history, and exporting them as CSV. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { buyerIdSchema, saleIdSchema, skuSchema, timeSchema } from '../../api/schemas.ts';
import { RESERVATION_STATUSES } from '../../domain/reservation.ts';
import { readDetail } from '../../domain/transition-detail.ts';
import type { Servers } from '../context.ts';
import { isRefusal, READ_PROBLEMS, respond, rowToJson } from '../http/outcome.ts';
import { pageQuery, pageSchema, parsePage, respondPage } from '../http/page.ts';
import {
  OPERATOR_REQUEST,
  pathIdSchema,
  textSchema,
  timestampSchema,
} from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { findReservation } from './find-reservation.ts';
import {
  cursorOf,
  cursorSchemaFor,
  listReservations,
  reservationRowSchema,
} from './reservation-queries.ts';
import { streamCsv } from './reservations-csv.ts';

const filterQuery = {
  saleId: saleIdSchema.optional(),
  buyerId: buyerIdSchema.optional(),
  status: z.enum(RESERVATION_STATUSES).optional(),
  sku: skuSchema.optional().describe('Reservations that contain this SKU.'),
  from: timestampSchema.optional().describe('Reserved at this time or later.'),
  to: timestampSchema.optional().describe('Reserved before this time.'),
  paymentRef: textSchema(200)
    .min(1)
    .optional()
    .describe(
      'Confirmed with this payment, also if it was refunded later. A confirmation is found as soon as PostgreSQL has it.',
    ),
};

const LIST = {
  operationId: 'listReservations',
  method: 'GET',
  path: '/admin/v1/reservations',
  ...OPERATOR_REQUEST,
  summary: 'List reservations, newest first',
  description:
    'Reservations of one sale are ordered by position, those of all sales by time. A hold past its deadline is `expired`, by the clock of PostgreSQL. A cursor is valid only with the filters of its page.',
  access: 'viewer',
  query: z.strictObject({ ...filterQuery, ...pageQuery }),
  responses: {
    200: { description: 'A page of reservations.', schema: pageSchema(reservationRowSchema) },
  },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const EXPORT = {
  operationId: 'exportReservations',
  method: 'GET',
  path: '/admin/v1/reservations.csv',
  ...OPERATOR_REQUEST,
  summary: 'Export all matching reservations as CSV, streamed',
  description:
    'With the payment, the time of the confirmation and the unit prices, also of refunded reservations. `items` are `sku*quantity`, and `unitPrices` are in the same order, both separated by spaces. `restocked` is empty until the reservation has ended; `false`: its units left the sale. `cancelledItems` were cancelled while other units were left, and `items` does not include them; of those, `withdrawnItems` left the sale. A cell that would start a formula in a spreadsheet is prefixed with a single quote, unless `raw` is `true`.',
  access: 'viewer',
  query: z.strictObject({
    ...filterQuery,
    raw: z
      .enum(['true', 'false'])
      .default('false')
      .describe('`true`: cells are as they are stored, for programs.'),
  }),
  responses: {
    200: { description: 'One line per reservation.', schema: z.string(), contentType: 'text/csv' },
  },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const GET = {
  operationId: 'getReservationForOperators',
  method: 'GET',
  path: '/admin/v1/reservations/{reservationId}',
  ...OPERATOR_REQUEST,
  summary: 'Get a reservation with its history',
  description:
    'What PostgreSQL does not have yet is read from Redis, so a reservation is found as soon as its buyer is notified. If it is unknown whether the reservation exists, the response is 503, not 404.',
  access: 'viewer',
  params: z.object({ reservationId: pathIdSchema }),
  responses: {
    200: {
      description: 'The reservation.',
      schema: reservationRowSchema
        .extend({
          history: z.array(
            z.object({
              version: z.int(),
              event: z.int().describe('The number of the event in its sale.'),
              status: z.enum(RESERVATION_STATUSES),
              occurredAt: timeSchema,
              actor: z
                .string()
                .nullable()
                .describe(
                  'The token that requested the transition; null for a buyer, the waitlist, or the end of the hold.',
                ),
              transition: z
                .string()
                .nullable()
                .describe(
                  'What a merchant requested: `confirm`, `reclaim`, `attach` (a payment), `cancel` or `extend`. Null where `actor` is null, and in events of earlier versions.',
                ),
              paymentRef: z.string().nullable(),
              reason: z.string().nullable(),
              restock: z
                .boolean()
                .nullable()
                .describe('Only in a cancellation by a merchant. False: its units left the sale.'),
              items: z
                .array(z.object({ sku: z.string(), quantity: z.int() }))
                .nullable()
                .describe(
                  'The units of a cancellation that named items; of a part unless the status is `cancelled`.',
                ),
              detail: z.string().describe('Further details; usually empty.'),
              requestId: z.string(),
            }),
          ),
        })
        .meta({ id: 'ReservationWithHistory' }),
    },
  },
  problems: [...READ_PROBLEMS, 'recovering', 'reservation_not_found'],
} as const satisfies ApiOperation;

/** Each export keeps a page of about 1 MB in memory for as long as its client reads. */
const EXPORTS_MAX = 20;

export function serveReservations(app: FastifyInstance, servers: Servers): void {
  const { sql } = servers;
  serveOperation(app, LIST, async ({ query }) => {
    const page = parsePage(query, cursorSchemaFor(query));
    if (isRefusal(page)) return page;
    const rows = await listReservations(sql, query, page);
    return respondPage(rows, page, (row) => cursorOf(row, query), rowToJson);
  });

  serveOperation(
    app,
    EXPORT,
    async ({ query: { raw, ...filter } }) =>
      respond(200, await streamCsv(sql, filter, raw === 'true' ? 'raw' : 'safe'), {
        'Content-Type': 'text/csv; charset=utf-8',
        'Content-Disposition': 'attachment; filename="reservations.csv"',
      }),
    { concurrentMax: EXPORTS_MAX },
  );

  serveOperation(app, GET, async ({ params: { reservationId } }) => {
    const found = await findReservation(servers, reservationId);
    if (isRefusal(found)) return found;
    return respond(200, {
      ...rowToJson(found.row),
      history: found.history.map((event) => ({
        ...event,
        ...readDetail(event.detail),
        occurredAt: event.occurredAt.toISOString(),
      })),
    });
  });
}
