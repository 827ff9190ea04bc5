/** Webhook endpoints and their deliveries: creating, listing, resuming and deleting endpoints, retrying deliveries. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { saleIdSchema, timeSchema } from '../../api/schemas.ts';
import { DELIVERY_STATES, WEBHOOK_EVENTS } from '../../domain/webhook.ts';
import type { AdminContext } from '../context.ts';
import {
  isRefusal,
  READ_PROBLEMS,
  refuse,
  refuseFields,
  respond,
  rowToJson,
} from '../http/outcome.ts';
import { idCursorSchema, pageQuery, pageSchema, parsePage, respondPage } from '../http/page.ts';
import { numericId, OPERATOR_REQUEST, pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import {
  checkTarget,
  createWebhook,
  type DeliveryRow,
  deleteWebhook,
  EARLIER_SECRETS_MAX,
  findWebhook,
  listDeliveries,
  listWebhooks,
  resumeWebhook,
  retryDelivery,
  rotateSecret,
  saleExists,
  type WebhookRow,
} from './webhook-store.ts';

const URL_LENGTH_MAX = 2_000;

const eventSchema = z.enum(WEBHOOK_EVENTS);

const newWebhookSchema = z.strictObject({
  url: z
    .string()
    .max(URL_LENGTH_MAX)
    .describe('Outside development, it must use https and a public address.'),
  events: z
    .array(eventSchema)
    .min(1)
    .optional()
    .describe('Defaults to all events, including future kinds.'),
  saleId: saleIdSchema.nullable().default(null).describe('Null for every sale.'),
  description: textSchema(500).default(''),
});

const webhookSchema = z
  .object({
    webhookId: z.string(),
    url: z.string(),
    description: z.string(),
    events: z.array(eventSchema).nullable().describe('Null for all events.'),
    saleId: z.string().nullable().describe('Null for every sale.'),
    state: z
      .enum(['active', 'paused', 'disabled'])
      .describe(
        '`paused`: deliveries failed repeatedly; nothing is sent until `pausedUntil`, then one delivery is tried. `disabled`: the endpoint responded 410. `resume` ends both.',
      ),
    pausedUntil: timeSchema.nullable(),
    failuresInRow: z.int(),
    lastError: z.string().nullable(),
    lastFailureAt: timeSchema.nullable(),
    lastSuccessAt: timeSchema.nullable(),
    pending: z.int().describe('Deliveries that are not finished.'),
    dead: z.int().describe('Deliveries that were given up.'),
    earlierSecretsUntil: timeSchema
      .nullable()
      .describe('Until then, messages are also signed with secrets from before a rotation.'),
    createdAt: timeSchema,
  })
  .meta({ id: 'Webhook' });

const createdWebhookSchema = webhookSchema
  .extend({
    secret: z
      .string()
      .describe(
        '`whsec_…`, for verifying signatures by Standard Webhooks. Only this response contains it.',
      ),
  })
  .meta({ id: 'CreatedWebhook' });

const deliverySchema = z
  .object({
    deliveryId: z.int(),
    webhookId: z.string(),
    messageId: z.string().describe('The header `webhook-id`, the same in every attempt.'),
    event: eventSchema,
    saleId: z.string(),
    state: z.enum(DELIVERY_STATES),
    attempts: z.int().describe('Since the delivery was created or its retry requested.'),
    nextAttemptAt: timeSchema.nullable().describe('Null if the delivery is finished.'),
    lastStatus: z.int().nullable().describe('Null if there was no response.'),
    lastError: z.string().nullable(),
    createdAt: timeSchema,
    finishedAt: timeSchema.nullable(),
  })
  .meta({ id: 'WebhookDelivery' });

const DELIVERY_RULES =
  'Requests are signed by Standard Webhooks. Each event is sent at least once to each endpoint, in any order, always with the same `webhook-id`. A 2xx response within 10 seconds finishes the delivery; any other result (including a redirect) is retried for 24 hours.';

const webhookParams = z.object({ webhookId: pathIdSchema });

const CREATE = {
  operationId: 'createWebhook',
  method: 'POST',
  path: '/admin/v1/webhooks',
  ...OPERATOR_REQUEST,
  summary: 'Create an endpoint that events are sent to',
  description: DELIVERY_RULES,
  access: 'operator',
  body: newWebhookSchema,
  responses: { 201: { description: 'Created.', schema: createdWebhookSchema } },
  problems: [...READ_PROBLEMS, 'sale_not_found', 'payload_too_large', 'too_many_webhooks'],
} as const satisfies ApiOperation;

const LIST = {
  operationId: 'listWebhooks',
  method: 'GET',
  path: '/admin/v1/webhooks',
  ...OPERATOR_REQUEST,
  summary: 'List endpoints with their state, newest first',
  access: 'operator',
  query: z.strictObject(pageQuery),
  responses: { 200: { description: 'A page of endpoints.', schema: pageSchema(webhookSchema) } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const DELETE = {
  operationId: 'deleteWebhook',
  method: 'DELETE',
  path: '/admin/v1/webhooks/{webhookId}',
  ...OPERATOR_REQUEST,
  summary: 'Delete an endpoint; nothing more is sent to it',
  access: 'operator',
  params: webhookParams,
  responses: { 204: { description: 'Deleted.' } },
  problems: [...READ_PROBLEMS, 'not_found'],
} as const satisfies ApiOperation;

const DELIVERIES = {
  operationId: 'listWebhookDeliveries',
  method: 'GET',
  path: '/admin/v1/webhooks/{webhookId}/deliveries',
  ...OPERATOR_REQUEST,
  summary: 'List the deliveries to an endpoint, newest first',
  description: 'Delivered ones are kept for 7 days, dead ones for 30 days.',
  access: 'operator',
  params: webhookParams,
  query: z.strictObject({ ...pageQuery, state: z.enum(DELIVERY_STATES).optional() }),
  responses: { 200: { description: 'A page of deliveries.', schema: pageSchema(deliverySchema) } },
  problems: [...READ_PROBLEMS, 'not_found'],
} as const satisfies ApiOperation;

const RETRY = {
  operationId: 'retryWebhookDelivery',
  method: 'POST',
  path: '/admin/v1/webhooks/{webhookId}/deliveries/{deliveryId}/retry',
  ...OPERATOR_REQUEST,
  summary: 'Retry a pending or dead delivery now',
  description: 'It is retried for another 24 hours. While the endpoint is paused, nothing is sent.',
  access: 'operator',
  params: webhookParams.extend({ deliveryId: pathIdSchema }),
  responses: { 202: { description: 'The retry is scheduled.', schema: deliverySchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

const RESUME = {
  operationId: 'resumeWebhook',
  method: 'POST',
  path: '/admin/v1/webhooks/{webhookId}/resume',
  ...OPERATOR_REQUEST,
  summary: 'Resume a paused or disabled endpoint',
  access: 'operator',
  params: webhookParams,
  responses: { 200: { description: 'The endpoint is active.', schema: webhookSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'payload_too_large'],
} as const satisfies ApiOperation;

const ROTATE = {
  operationId: 'rotateWebhookSecret',
  method: 'POST',
  path: '/admin/v1/webhooks/{webhookId}/rotate-secret',
  ...OPERATOR_REQUEST,
  summary: 'Give an endpoint another secret',
  description: `For 24 hours, every message has the signatures of both secrets in \`webhook-signature\`, as Standard Webhooks allows. A receiver that keeps either secret accepts it. A repeated request gives yet another secret, and the earlier ones go on signing until their own 24 hours are over. At most ${EARLIER_SECRETS_MAX} earlier secrets can sign; a further rotation is 409 \`invalid_transition\`.`,
  access: 'operator',
  params: webhookParams,
  responses: { 200: { description: 'The new secret.', schema: createdWebhookSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

const webhookCursorSchema = z.tuple([
  z.string().regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[\d.]*[+-][\d:]+$/),
  z.string().max(100),
]);

const UNKNOWN_WEBHOOK = refuse('not_found', { detail: 'There is no webhook with that id.' });

export function serveWebhooks(app: FastifyInstance, { sql, isDevelopment }: AdminContext): void {
  serveOperation(app, CREATE, async ({ body, caller }) => {
    const { url, events = [], saleId, description } = body;
    const message = await checkTarget(url, { isDevelopment });
    if (message !== undefined) return refuseFields({ field: 'url', message });
    if (saleId !== null && !(await saleExists(sql, saleId))) return refuse('sale_not_found');
    const webhook = { url, events: [...new Set(events)], saleId, description };
    const created = await createWebhook(sql, webhook, caller);
    if (!created) return refuse('too_many_webhooks');
    const { row, secret } = created;
    // No cache may store the secret.
    return respond(201, { ...showWebhook(row), secret }, { 'Cache-Control': 'no-store' });
  });

  serveOperation(app, LIST, async ({ query }) => {
    const page = parsePage(query, webhookCursorSchema);
    if (isRefusal(page)) return page;
    const rows = await listWebhooks(sql, page);
    return respondPage(rows, page, (row) => [row.createdAtExact, row.webhookId], showWebhook);
  });

  serveOperation(app, DELETE, async ({ params: { webhookId }, caller }) =>
    (await deleteWebhook(sql, webhookId, caller)) ? respond(204) : UNKNOWN_WEBHOOK,
  );

  serveOperation(app, DELIVERIES, async ({ params: { webhookId }, query }) => {
    const page = parsePage(query, idCursorSchema);
    if (isRefusal(page)) return page;
    if (!(await findWebhook(sql, webhookId))) return UNKNOWN_WEBHOOK;
    const rows = await listDeliveries(sql, webhookId, query.state, page);
    return respondPage(rows, page, ({ deliveryId }) => [deliveryId], showDelivery);
  });

  serveOperation(app, RETRY, async ({ params: { webhookId, deliveryId }, caller }) => {
    const webhook = await findWebhook(sql, webhookId);
    if (!webhook) return UNKNOWN_WEBHOOK;
    if (webhook.status === 'disabled') {
      return refuse('invalid_transition', { detail: 'The endpoint is disabled. Resume it first.' });
    }
    const row = await retryDelivery(sql, webhookId, numericId(deliveryId), caller);
    if (!row) return refuse('not_found', { detail: 'There is no delivery with that id.' });
    if (row === 'delivered') return refuse('invalid_transition', { from: row, to: 'pending' });
    return respond(202, showDelivery(row));
  });

  serveOperation(app, RESUME, async ({ params: { webhookId }, caller }) => {
    const row = await resumeWebhook(sql, webhookId, caller);
    return row ? respond(200, showWebhook(row)) : UNKNOWN_WEBHOOK;
  });

  serveOperation(app, ROTATE, async ({ params: { webhookId }, caller }) => {
    const rotated = await rotateSecret(sql, webhookId, caller);
    if (!rotated) return UNKNOWN_WEBHOOK;
    if (rotated === 'too_many') {
      return refuse('invalid_transition', {
        detail: `${EARLIER_SECRETS_MAX} earlier secrets still sign, each for 24 hours. Nothing was changed.`,
      });
    }
    const { row, secret } = rotated;
    return respond(200, { ...showWebhook(row), secret });
  });
}

function showWebhook(row: WebhookRow): z.infer<typeof webhookSchema> {
  const { status, events, createdAtExact: _, ...rest } = row;
  return {
    ...rowToJson(rest),
    events: events.length === 0 ? null : events,
    state: status === 'active' && row.pausedUntil ? 'paused' : status,
  };
}

function showDelivery(row: DeliveryRow): z.infer<typeof deliverySchema> {
  const { eventType, dueAt, ...rest } = row;
  return {
    ...rowToJson(rest),
    event: eventType,
    nextAttemptAt: row.state === 'pending' ? dueAt.toISOString() : null,
  };
}
