/** Creating, listing, changing and deleting sales. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { idempotencyKeySchema, saleIdSchema, tracingHeaders } from '../../api/schemas.ts';
import { SALE_TRANSITIONS, type SaleTransition } from '../../domain/sale.ts';
import type { Servers } from '../context.ts';
import {
  CHANGE_PROBLEMS,
  isRefusal,
  type Outcome,
  READ_PROBLEMS,
  refuse,
  respond,
} from '../http/outcome.ts';
import { pageOf, pageQuery, pageSchema, parsePage } from '../http/page.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { decidePatch, decideTransition } from './decide-operation.ts';
import { changeSale, createSale, deleteSale } from './record-operation.ts';
import { newSaleSchema, salePatchSchema, saleSchema } from './sale-schemas.ts';
import { findSale, listSales } from './sale-store.ts';
import { createSaleReader, viewSales } from './sale-view.ts';

const CREATE = {
  operationId: 'createSale',
  method: 'POST',
  path: '/admin/v1/sales',
  ...OPERATOR_REQUEST,
  summary: 'Create a sale as a draft',
  access: 'operator',
  headers: z.object({ ...tracingHeaders, 'idempotency-key': idempotencyKeySchema.optional() }),
  body: newSaleSchema,
  responses: {
    201: {
      description: 'Created.',
      schema: saleSchema,
      headers: { Location: 'The path of the sale.' },
    },
    200: {
      description: 'An earlier request with this key created the sale; this is its current state.',
      schema: saleSchema,
      headers: { 'Idempotent-Replayed': 'Always `true` here.', Location: 'The path of the sale.' },
    },
  },
  problems: [...CHANGE_PROBLEMS, 'idempotency_key_reused'],
} as const satisfies ApiOperation;

const LIST = {
  operationId: 'listSales',
  method: 'GET',
  path: '/admin/v1/sales',
  ...OPERATOR_REQUEST,
  summary: 'List sales with their current counts, newest first',
  access: 'viewer',
  query: z.strictObject({
    archived: z
      .enum(['true', 'false'])
      .optional()
      .describe('Only archived sales, or only the others; without it, all.'),
    rehearsals: z
      .enum(['true', 'false'])
      .default('false')
      .describe('Only rehearsals, or only the other sales.'),
    ...pageQuery,
  }),
  responses: { 200: { description: 'A page of sales.', schema: pageSchema(saleSchema) } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const saleParams = z.object({ saleId: pathIdSchema });

const GET = {
  operationId: 'getSaleForOperators',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}',
  ...OPERATOR_REQUEST,
  summary: 'Get a sale with its current counts',
  description:
    'Also works while Redis is unavailable: then `redis` is `away` and the counts are null.',
  access: 'viewer',
  params: saleParams,
  responses: { 200: { description: 'The sale.', schema: saleSchema } },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

const PATCH = {
  operationId: 'patchSale',
  method: 'PATCH',
  path: '/admin/v1/sales/{saleId}',
  ...OPERATOR_REQUEST,
  summary: 'Change a sale',
  description:
    'A draft can change except for its currency. An open sale can change its name, its endsAt, its perBuyerLimit and those of its SKUs, and its startsAt until the sale has started. Names and prices of SKUs can also change while the sale is paused, and until 2 s before it starts; reservations keep their price, and later ones get the new price, from the waitlist too. If Redis is unavailable, such a change takes effect as soon as Redis gets it. An ended sale does not change any more. A new startsAt is ignored if the sale starts before Redis gets it. A change that contains endsAt is refused as a whole if the sale ends before Redis gets it; the problem has the endsAt that stays.',
  access: 'operator',
  params: saleParams,
  body: salePatchSchema,
  responses: { 200: { description: 'The current state of the sale.', schema: saleSchema } },
  problems: [...CHANGE_PROBLEMS, 'sale_not_found', 'invalid_transition'],
} as const satisfies ApiOperation;

const DELETE = {
  operationId: 'deleteSale',
  method: 'DELETE',
  path: '/admin/v1/sales/{saleId}',
  ...OPERATOR_REQUEST,
  summary: 'Delete a draft, or a rehearsal',
  description:
    'A rehearsal can be deleted in any state, with its reservations, history and audit entries. Nothing of it remains in Redis and PostgreSQL.',
  access: 'operator',
  params: saleParams,
  responses: { 204: { description: 'Deleted.' } },
  problems: [...CHANGE_PROBLEMS, 'sale_not_found', 'invalid_transition'],
} as const satisfies ApiOperation;

const TRANSITION_SUMMARIES: Record<SaleTransition, string> = {
  open: 'Open a draft: buyers can buy from startsAt on',
  pause: 'Pause an open sale; reservations remain',
  resume: 'Resume a paused sale',
  end: 'End a sale permanently',
};

/** `created_at` as PostgreSQL writes it in UTC, and only if it is an existing time. */
const saleCursorSchema = z.tuple([
  z
    .string()
    .regex(/^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,6})?\+00$/)
    .refine((time) => !Number.isNaN(Date.parse(time.replace(' ', 'T').replace('+00', 'Z')))),
  saleIdSchema,
]);

export function serveSales(app: FastifyInstance, servers: Servers): void {
  const reader = createSaleReader(servers.shards);

  /** Responds with the current state of the sale. */
  const showSale = async (saleId: string, status = 200, headers = {}): Promise<Outcome> => {
    const sale = await findSale(servers.sql, saleId);
    if (!sale) return refuse('sale_not_found');
    const [view] = await viewSales(servers, reader, [sale]);
    return respond(status, view, headers);
  };

  serveOperation(app, CREATE, async ({ body, headers, caller }) => {
    const idempotencyKey = headers['idempotency-key'];
    const created = await createSale(servers, body, { caller, idempotencyKey });
    if (isRefusal(created)) return created;
    const location = { Location: `/admin/v1/sales/${created.saleId}` };
    return created.replayed
      ? showSale(created.saleId, 200, { ...location, 'Idempotent-Replayed': 'true' })
      : showSale(created.saleId, 201, location);
  });

  serveOperation(app, LIST, async ({ query }) => {
    const page = parsePage(query, saleCursorSchema);
    if (isRefusal(page)) return page;
    const sales = await listSales(servers.sql, page, {
      isArchived: query.archived === undefined ? undefined : query.archived === 'true',
      isRehearsal: query.rehearsals === 'true',
    });
    const shown = pageOf(sales, page, (sale) => [sale.createdAtExact, sale.saleId]);
    return respond(200, { ...shown, data: await viewSales(servers, reader, shown.data) });
  });

  serveOperation(app, GET, ({ params }) => showSale(params.saleId));

  serveOperation(app, PATCH, async ({ params: { saleId }, body, caller }) => {
    const changed = await changeSale(servers, { saleId, caller, request: body }, (sale, moment) =>
      decidePatch(sale, body, moment),
    );
    return isRefusal(changed) ? changed : showSale(saleId);
  });

  serveOperation(app, DELETE, async ({ params, caller }) => {
    const deleted = await deleteSale(servers, params.saleId, caller);
    return deleted === 'deleted' ? respond(204) : deleted;
  });

  for (const transition of Object.keys(SALE_TRANSITIONS) as SaleTransition[]) {
    serveOperation(app, transitionOperation(transition), async ({ params: { saleId }, caller }) => {
      const changed = await changeSale(
        servers,
        { saleId, caller, request: transition },
        (sale, moment) => decideTransition(sale, transition, moment),
      );
      return isRefusal(changed) ? changed : showSale(saleId);
    });
  }
}

function transitionOperation(transition: SaleTransition) {
  return {
    operationId: `${transition}Sale`,
    method: 'POST',
    path: `/admin/v1/sales/{saleId}/${transition}`,
    ...OPERATOR_REQUEST,
    summary: TRANSITION_SUMMARIES[transition],
    description:
      'A repeated request changes nothing and also gets 200. A sale whose end has passed is `ended`, and stays so.',
    access: 'operator',
    params: saleParams,
    responses: { 200: { description: 'The current state of the sale.', schema: saleSchema } },
    problems: [...CHANGE_PROBLEMS, 'sale_not_found', 'invalid_transition'],
  } as const satisfies ApiOperation;
}
