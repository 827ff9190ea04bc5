/** Webhook endpoints: who is told what, how it goes, and another try. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { saleIdSchema, timeSchema, tracingHeaders } from '../../api/schemas.ts';
import { DELIVERY_STATES, WEBHOOK_EVENTS } from '../../domain/webhook.ts';
import type { AdminContext } from '../context.ts';
import { READ_PROBLEMS, type Refusal, refuse, refuseFields, respond } from '../http/outcome.ts';
import { decodeCursor, pageOf, pageQuery, pageSchema } from '../http/page.ts';
import { pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import {
  checkTarget,
  createWebhook,
  type DeliveryRow,
  deleteWebhook,
  findWebhook,
  listDeliveries,
  listWebhooks,
  resumeWebhook,
  retryDelivery,
  saleExists,
  type WebhookRow,
} from './webhook-store.ts';

const URL_LENGTH_MAX = 2_000;

const eventSchema = z.enum(WEBHOOK_EVENTS);

const newWebhookSchema = z.strictObject({
  url: z.string().max(URL_LENGTH_MAX).describe('Outside development https, at a public address.'),
  events: z.array(eventSchema).min(1).optional().describe('Unless given: all, also future ones.'),
  saleId: saleIdSchema.nullable().default(null).describe('Null: every sale.'),
  description: textSchema(500).default(''),
});

const webhookSchema = z
  .object({
    webhookId: z.string(),
    url: z.string(),
    description: z.string(),
    events: z.array(eventSchema).nullable().describe('Null: all.'),
    saleId: z.string().nullable().describe('Null: every sale.'),
    state: z
      .enum(['active', 'paused', 'disabled'])
      .describe(
        'Paused: it failed again and again and is left alone until `pausedUntil`, when one delivery tries. Disabled: it answered 410. `resume` ends both.',
      ),
    pausedUntil: timeSchema.nullable(),
    failuresInRow: z.int(),
    lastError: z.string().nullable(),
    lastFailureAt: timeSchema.nullable(),
    lastSuccessAt: timeSchema.nullable(),
    pending: z.int().describe('Deliveries that have not ended.'),
    dead: z.int().describe('Deliveries given up.'),
    createdAt: timeSchema,
  })
  .meta({ id: 'Webhook' });

const createdWebhookSchema = webhookSchema
  .extend({
    secret: z
      .string()
      .describe('`whsec_…`, for verifying by Standard Webhooks. Shown only this once.'),
  })
  .meta({ id: 'CreatedWebhook' });

const deliverySchema = z
  .object({
    deliveryId: z.int(),
    webhookId: z.string(),
    messageId: z.string().describe('`webhook-id`, the same in every try.'),
    event: eventSchema,
    saleId: z.string(),
    state: z.enum(DELIVERY_STATES),
    attempts: z.int().describe('Since it was made, or asked for again.'),
    nextAttemptAt: timeSchema.nullable().describe('Null: it has ended.'),
    lastStatus: z.int().nullable().describe('Null: there was no answer.'),
    lastError: z.string().nullable(),
    createdAt: timeSchema,
    finishedAt: timeSchema.nullable(),
  })
  .meta({ id: 'WebhookDelivery' });

const DELIVERY_RULES =
  'Signed by Standard Webhooks. Each event is sent at least once to each endpoint, in no promised order, always with the same `webhook-id`; any 2xx answer within 10 s ends it, anything else (a redirect too) is tried again for 24 hours.';

const webhookParams = z.object({ webhookId: pathIdSchema });
const headers = z.object(tracingHeaders);

const CREATE = {
  operationId: 'createWebhook',
  method: 'POST',
  path: '/admin/v1/webhooks',
  tag: 'Operators',
  summary: 'Have events sent to an address',
  description: DELIVERY_RULES,
  access: 'operator',
  headers,
  body: newWebhookSchema,
  responses: { 201: { description: 'Made.', schema: createdWebhookSchema } },
  problems: [...READ_PROBLEMS, 'sale_not_found', 'payload_too_large'],
} as const satisfies ApiOperation;

const LIST = {
  operationId: 'listWebhooks',
  method: 'GET',
  path: '/admin/v1/webhooks',
  tag: 'Operators',
  summary: 'Endpoints and how they are, newest first',
  access: 'operator',
  headers,
  query: z.strictObject(pageQuery),
  responses: { 200: { description: 'A page.', schema: pageSchema(webhookSchema) } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const DELETE = {
  operationId: 'deleteWebhook',
  method: 'DELETE',
  path: '/admin/v1/webhooks/{webhookId}',
  tag: 'Operators',
  summary: 'Send nothing more to an endpoint, and forget it',
  access: 'operator',
  params: webhookParams,
  headers,
  responses: { 204: { description: 'Deleted.' } },
  problems: [...READ_PROBLEMS, 'not_found'],
} as const satisfies ApiOperation;

const DELIVERIES = {
  operationId: 'listWebhookDeliveries',
  method: 'GET',
  path: '/admin/v1/webhooks/{webhookId}/deliveries',
  tag: 'Operators',
  summary: 'What was and is to be sent to an endpoint, newest first',
  description: 'Delivered ones are kept for 7 days, dead ones for 30.',
  access: 'operator',
  params: webhookParams,
  headers,
  query: z.strictObject({ ...pageQuery, state: z.enum(DELIVERY_STATES).optional() }),
  responses: { 200: { description: 'A page.', schema: pageSchema(deliverySchema) } },
  problems: [...READ_PROBLEMS, 'not_found'],
} as const satisfies ApiOperation;

const RETRY = {
  operationId: 'retryWebhookDelivery',
  method: 'POST',
  path: '/admin/v1/webhooks/{webhookId}/deliveries/{deliveryId}/retry',
  tag: 'Operators',
  summary: 'Send a dead or failed delivery again, now',
  description: 'With 24 hours of tries, and when the endpoint is not paused.',
  access: 'operator',
  params: webhookParams.extend({ deliveryId: pathIdSchema }),
  headers,
  responses: { 202: { description: 'It will be tried.', schema: deliverySchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

const RESUME = {
  operationId: 'resumeWebhook',
  method: 'POST',
  path: '/admin/v1/webhooks/{webhookId}/resume',
  tag: 'Operators',
  summary: 'End the pause of an endpoint, or enable it again',
  access: 'operator',
  params: webhookParams,
  headers,
  responses: { 200: { description: 'Active.', schema: webhookSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'payload_too_large'],
} as const satisfies ApiOperation;

const webhookCursorShape = z.tuple([
  z.string().regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[\d.]*[+-][\d:]+$/),
  z.string().max(100),
]);
const deliveryCursorShape = z.tuple([z.int().min(1)]);

const NOT_A_CURSOR = { field: 'cursor', message: 'is not a cursor of this listing' };

export function serveWebhooks(app: FastifyInstance, context: AdminContext): void {
  const { sql, isDevelopment } = context;

  serveOperation(app, CREATE, async ({ body, caller }) => {
    const { url, events = [], saleId, description } = body;
    const complaint = await checkTarget(url, { isDevelopment });
    if (complaint !== undefined) return refuseFields({ field: 'url', message: complaint });
    if (saleId !== null && !(await saleExists(sql, saleId))) return refuse('sale_not_found');
    const wish = { url, events: [...new Set(events)], saleId, description };
    const { row, secret } = await createWebhook(sql, wish, caller);
    // Nobody in between may keep a secret.
    return respond(201, { ...showWebhook(row), secret }, { 'Cache-Control': 'no-store' });
  });

  serveOperation(app, LIST, async ({ query: { limit, cursor } }) => {
    const after = cursor === undefined ? undefined : decodeCursor(cursor, webhookCursorShape);
    if (cursor !== undefined && !after) return refuseFields(NOT_A_CURSOR);
    const rows = await listWebhooks(sql, { limit: limit + 1, after });
    const page = pageOf(rows, limit, (row) => [row.createdAtExact, row.webhookId]);
    return respond(200, { ...page, data: page.data.map(showWebhook) });
  });

  serveOperation(app, DELETE, async ({ params: { webhookId }, caller }) =>
    (await deleteWebhook(sql, webhookId, caller)) ? respond(204) : noWebhook(),
  );

  serveOperation(app, DELIVERIES, async ({ params: { webhookId }, query }) => {
    const { limit, cursor, state } = query;
    const after = cursor === undefined ? undefined : decodeCursor(cursor, deliveryCursorShape);
    if (cursor !== undefined && !after) return refuseFields(NOT_A_CURSOR);
    if (!(await findWebhook(sql, webhookId))) return noWebhook();
    const rows = await listDeliveries(sql, webhookId, {
      limit: limit + 1,
      after: after?.[0],
      state,
    });
    const page = pageOf(rows, limit, (row) => [row.deliveryId]);
    return respond(200, { ...page, data: page.data.map(showDelivery) });
  });

  serveOperation(app, RETRY, async ({ params: { webhookId, deliveryId }, caller }) => {
    const webhook = await findWebhook(sql, webhookId);
    if (!webhook) return noWebhook();
    if (webhook.status === 'disabled') {
      return refuse('invalid_transition', { detail: 'The endpoint is disabled; resume it first.' });
    }
    const id = /^[1-9][0-9]{0,14}$/.test(deliveryId) ? Number(deliveryId) : 0;
    const row = await retryDelivery(sql, webhookId, id, caller);
    if (!row) return refuse('not_found', { detail: 'There is no delivery of that id.' });
    if (row === 'delivered') return refuse('invalid_transition', { from: row, to: 'pending' });
    return respond(202, showDelivery(row));
  });

  serveOperation(app, RESUME, async ({ params: { webhookId }, caller }) => {
    const row = await resumeWebhook(sql, webhookId, caller);
    return row ? respond(200, showWebhook(row)) : noWebhook();
  });
}

function noWebhook(): Refusal {
  return refuse('not_found', { detail: 'There is no webhook of that id.' });
}

function showWebhook(row: WebhookRow): z.infer<typeof webhookSchema> {
  const { status, events, createdAtExact: _, ...rest } = row;
  return {
    ...rest,
    events: events.length === 0 ? null : events,
    state: status === 'active' && row.pausedUntil ? 'paused' : status,
    pausedUntil: timeOf(row.pausedUntil),
    lastFailureAt: timeOf(row.lastFailureAt),
    lastSuccessAt: timeOf(row.lastSuccessAt),
    createdAt: row.createdAt.toISOString(),
  };
}

function showDelivery(row: DeliveryRow): z.infer<typeof deliverySchema> {
  const { eventType, dueAt, ...rest } = row;
  return {
    ...rest,
    event: eventType,
    nextAttemptAt: row.state === 'pending' ? dueAt.toISOString() : null,
    createdAt: row.createdAt.toISOString(),
    finishedAt: timeOf(row.finishedAt),
  };
}

function timeOf(time: Date | null): string | null {
  return time?.toISOString() ?? null;
}
