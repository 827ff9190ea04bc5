/** Reservations: finding them, one with its history, all of them as CSV. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import {
  buyerIdSchema,
  saleIdSchema,
  skuSchema,
  timeSchema,
  tracingHeaders,
} from '../../api/schemas.ts';
import { RESERVATION_STATUSES } from '../../domain/reservation.ts';
import { readDetail } from '../../domain/transition-detail.ts';
import type { Servers } from '../context.ts';
import { READ_PROBLEMS, refuse, refuseFields, respond } from '../http/outcome.ts';
import { pageOf, pageQuery, pageSchema } from '../http/page.ts';
import { momentSchema, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import {
  findReservation,
  historyOf,
  listReservations,
  parseReservationCursor,
  reservationPosition,
  reservationRowSchema,
  showReservation,
} from './reservation-queries.ts';
import { streamCsv } from './reservations-csv.ts';

const filterQuery = {
  saleId: saleIdSchema.optional(),
  buyerId: buyerIdSchema.optional(),
  status: z.enum(RESERVATION_STATUSES).optional(),
  sku: skuSchema.optional().describe('Reservations with this SKU in their basket.'),
  from: momentSchema.optional().describe('Reserved at this time or later.'),
  to: momentSchema.optional().describe('Reserved before this time.'),
};

const LIST = {
  operationId: 'listReservations',
  method: 'GET',
  path: '/admin/v1/reservations',
  tag: 'Operators',
  summary: 'Find reservations, newest first',
  description:
    'Within one sale in the reverse order of decision, over all sales by time. A cursor goes with the filters that it was given for.',
  access: 'viewer',
  headers: z.object(tracingHeaders),
  query: z.strictObject({ ...filterQuery, ...pageQuery }),
  responses: { 200: { description: 'A page.', schema: pageSchema(reservationRowSchema) } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const EXPORT = {
  operationId: 'exportReservations',
  method: 'GET',
  path: '/admin/v1/reservations.csv',
  tag: 'Operators',
  summary: 'The same as CSV, all of them, streamed',
  description:
    'Cells that would start a formula in a spreadsheet are prefixed with a single quote.',
  access: 'viewer',
  headers: z.object(tracingHeaders),
  query: z.strictObject(filterQuery),
  responses: {
    200: { description: 'One line a reservation.', schema: z.string(), contentType: 'text/csv' },
  },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const GET = {
  operationId: 'getReservationForOperators',
  method: 'GET',
  path: '/admin/v1/reservations/{reservationId}',
  tag: 'Operators',
  summary: 'A reservation with its history',
  access: 'viewer',
  params: z.object({ reservationId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  responses: {
    200: {
      description: 'The reservation.',
      schema: reservationRowSchema
        .extend({
          history: z.array(
            z.object({
              version: z.int(),
              event: z.int().describe("The event's number in its sale."),
              status: z.enum(RESERVATION_STATUSES),
              occurredAt: timeSchema,
              actor: z
                .string()
                .nullable()
                .describe('Whose token it was; null: a buyer, the line, or the end of the hold.'),
              paymentRef: z.string().nullable(),
              reason: z.string().nullable(),
              detail: z.string().describe('What else is to be said; mostly nothing.'),
              requestId: z.string(),
            }),
          ),
        })
        .meta({ id: 'ReservationWithHistory' }),
    },
  },
  problems: [...READ_PROBLEMS, 'reservation_not_found'],
} as const satisfies ApiOperation;

/** Each has a page of them in memory, a megabyte, for as long as its reader likes. */
const EXPORTS_MAX = 20;

export function serveReservations(app: FastifyInstance, { sql }: Servers): void {
  serveOperation(app, LIST, async ({ query: { limit, cursor, ...filter } }) => {
    const after = cursor === undefined ? undefined : parseReservationCursor(cursor, filter);
    if (cursor !== undefined && !after) {
      return refuseFields({ field: 'cursor', message: 'is not a cursor of this listing' });
    }
    const rows = await listReservations(sql, filter, { limit: limit + 1, after });
    const page = pageOf(rows, limit, (row) => reservationPosition(row, filter));
    return respond(200, { ...page, data: page.data.map(showReservation) });
  });

  serveOperation(
    app,
    EXPORT,
    async ({ query }) =>
      respond(200, await streamCsv(sql, query), {
        'Content-Type': 'text/csv; charset=utf-8',
        'Content-Disposition': 'attachment; filename="reservations.csv"',
      }),
    { concurrentMax: EXPORTS_MAX },
  );

  serveOperation(app, GET, async ({ params: { reservationId } }) => {
    const row = await findReservation(sql, reservationId);
    if (!row)
      return refuse('reservation_not_found', { detail: 'There is no reservation of that id.' });
    const history = await historyOf(sql, reservationId);
    return respond(200, {
      ...showReservation(row),
      history: history.map((event) => ({
        ...event,
        ...readDetail(event.detail),
        occurredAt: event.occurredAt.toISOString(),
      })),
    });
  });
}
