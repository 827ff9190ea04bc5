/**
 * Webhook endpoints and their deliveries in PostgreSQL. Nothing here reads a secret: createWebhook and rotateSecret return
 * a new one once, and after that only the persister uses it for signing.
 */
import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { nanoid } from 'nanoid';
import type { DeliveryState, WebhookEvent } from '../../domain/webhook.ts';
import {
  complaintAboutUrl,
  isPublicAddress,
  literalAddress,
  type TargetRules,
} from '../../domain/webhook-target.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import type { Caller } from '../context.ts';
import { writeAudit } from '../http/audit.ts';
import type { RowRange } from '../http/page.ts';

/** Standard Webhooks requires 24 to 64. */
const SECRET_BYTES = 32;
/** After a rotation, the earlier secret signs too for this time. */
const SIGNS_ON_HOURS = 24;
/** Each one adds a signature to every message. */
export const EARLIER_SECRETS_MAX = 4;
/** Each event becomes a delivery to each endpoint. */
export const WEBHOOKS_MAX = 100;
/** Arbitrary, the same in every admin: the lock under which endpoints are counted. */
const CREATION_LOCK = 5_702_419;
/** If a lookup takes longer, the address is checked only when the persister connects. */
const LOOKUP_MS_MAX = 2_000;

export interface NewWebhook {
  url: string;
  description: string;
  /** Empty means all. */
  events: WebhookEvent[];
  saleId: string | null;
}

export interface WebhookRow {
  webhookId: string;
  url: string;
  description: string;
  events: WebhookEvent[];
  saleId: string | null;
  status: 'active' | 'disabled';
  pausedUntil: Date | null;
  failuresInRow: number;
  lastError: string | null;
  lastFailureAt: Date | null;
  lastSuccessAt: Date | null;
  pending: number;
  dead: number;
  /** Until then, at least one earlier secret signs too. */
  earlierSecretsUntil: Date | null;
  createdAt: Date;
  /** With microseconds, for the cursor. */
  createdAtExact: string;
}

export interface DeliveryRow {
  deliveryId: number;
  webhookId: string;
  messageId: string;
  eventType: WebhookEvent;
  saleId: string;
  state: DeliveryState;
  attempts: number;
  dueAt: Date;
  lastStatus: number | null;
  lastError: string | null;
  createdAt: Date;
  finishedAt: Date | null;
}

/**
 * Returns the error in a target URL, or undefined. A name that cannot be resolved now is accepted: it may exist
 * later, and the persister checks the address of every connection.
 */
export async function checkTarget(url: string, rules: TargetRules): Promise<string | undefined> {
  const complaint = complaintAboutUrl(url, rules);
  if (complaint !== undefined || rules.isDevelopment || literalAddress(url)) return complaint;
  const addresses = await addressesOf(new URL(url).hostname);
  return addresses.every(isPublicAddress) ? undefined : 'must lead to a public address';
}

async function addressesOf(hostname: string): Promise<string[]> {
  const timeout = new Promise<[]>((resolve) => {
    setTimeout(() => resolve([]), LOOKUP_MS_MAX).unref();
  });
  const found = lookup(hostname, { all: true }).catch(() => []);
  return (await Promise.race([found, timeout])).map(({ address }) => address);
}

export async function saleExists(sql: Sql, saleId: string): Promise<boolean> {
  const rows = await sql`SELECT FROM sales WHERE sale_id = ${saleId}`;
  return rows.length > 0;
}

/** Undefined: there are `WEBHOOKS_MAX` endpoints. */
export async function createWebhook(
  sql: Sql,
  webhook: NewWebhook,
  caller: Caller,
): Promise<{ row: WebhookRow; secret: string } | undefined> {
  const webhookId = `wh_${nanoid()}`;
  const secret = newSecret();
  const { url, description, events, saleId } = webhook;
  return inTransaction(sql, async (tx) => {
    await tx`SELECT pg_advisory_xact_lock(${CREATION_LOCK}::bigint)`;
    const [existing] = await tx<{ count: number }[]>`
      SELECT count(*) AS count FROM webhook_endpoints WHERE status <> 'deleted'`;
    if (existing!.count >= WEBHOOKS_MAX) return undefined;
    await tx`
      INSERT INTO webhook_endpoints (webhook_id, url, description, events, sale_id, secret)
      VALUES (${webhookId}, ${url}, ${description}, ${events}, ${saleId}, ${secret})`;
    // Only the origin: viewers read the audit log, and the path may contain a token.
    const details = { webhookId, origin: new URL(url).origin, events };
    await writeAudit(tx, saleId, 'create-webhook', caller, details);
    return { row: (await findWebhook(tx, webhookId))!, secret };
  });
}

function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
}

/**
 * Gives the endpoint another secret. Every earlier one signs until its own 24 hours are over, so a request that is
 * repeated because its response was lost invalidates none that the receiver has.
 */
export async function rotateSecret(
  sql: Sql,
  webhookId: string,
  caller: Caller,
): Promise<{ row: WebhookRow; secret: string } | 'too_many' | undefined> {
  const secret = newSecret();
  return inTransaction(sql, async (tx) => {
    const [before] = await tx<{ saleId: string | null; signing: number }[]>`
      SELECT sale_id, (SELECT count(*) FROM jsonb_array_elements(earlier_secrets) AS earlier
        WHERE (earlier->>'signsUntil')::timestamptz > now()) AS signing
      FROM webhook_endpoints WHERE webhook_id = ${webhookId} AND status <> 'deleted' FOR UPDATE`;
    if (!before) return undefined;
    if (before.signing >= EARLIER_SECRETS_MAX) return 'too_many';
    await tx`
      UPDATE webhook_endpoints SET secret = ${secret}, updated_at = now(),
        earlier_secrets = jsonb_build_array(jsonb_build_object('secret', secret,
          'signsUntil', now() + ${SIGNS_ON_HOURS}::integer * interval '1 hour')) || earlier_secrets
      WHERE webhook_id = ${webhookId}`;
    const row = (await findWebhook(tx, webhookId))!;
    const details = { webhookId, earlierSecretsUntil: row.earlierSecretsUntil };
    await writeAudit(tx, before.saleId, 'rotate-webhook-secret', caller, details);
    return { row, secret };
  });
}

export async function findWebhook(
  sql: Sql | Transaction,
  webhookId: string,
): Promise<WebhookRow | undefined> {
  const [row] = await selectWebhooks(sql, sql`AND webhook_id = ${webhookId}`);
  return row;
}

/** Newest first. */
export async function listWebhooks(
  sql: Sql,
  page: RowRange<readonly [createdAt: string, webhookId: string]>,
): Promise<WebhookRow[]> {
  const after = page.after
    ? sql`AND (created_at, webhook_id) < (${page.after[0]}::text::timestamptz, ${page.after[1]})`
    : sql``;
  return selectWebhooks(
    sql,
    sql`${after} ORDER BY created_at DESC, webhook_id DESC LIMIT ${page.rowsMax}`,
  );
}

/** Returns false if there is no such endpoint. The persister removes its deliveries in small batches. */
export async function deleteWebhook(sql: Sql, webhookId: string, caller: Caller): Promise<boolean> {
  return inTransaction(sql, async (tx) => {
    const [row] = await tx<{ saleId: string | null }[]>`
      UPDATE webhook_endpoints SET status = 'deleted', secret = '', earlier_secrets = '[]', url = '', updated_at = now()
      WHERE webhook_id = ${webhookId} AND status <> 'deleted' RETURNING sale_id`;
    if (row) await writeAudit(tx, row.saleId, 'delete-webhook', caller, { webhookId });
    return row !== undefined;
  });
}

/** Closes the circuit breaker or enables the endpoint, and makes its pending deliveries due. */
export async function resumeWebhook(
  sql: Sql,
  webhookId: string,
  caller: Caller,
): Promise<WebhookRow | undefined> {
  return inTransaction(sql, async (tx) => {
    const [row] = await tx<{ saleId: string | null }[]>`
      UPDATE webhook_endpoints
      SET status = 'active', paused_until = NULL, failures_in_row = 0, pauses_in_row = 0, updated_at = now()
      WHERE webhook_id = ${webhookId} AND status <> 'deleted' RETURNING sale_id`;
    if (!row) return undefined;
    await tx`
      UPDATE webhook_deliveries SET due_at = now()
      WHERE webhook_id = ${webhookId} AND state = 'pending' AND due_at > now() + interval '30 seconds'`;
    await writeAudit(tx, row.saleId, 'resume-webhook', caller, { webhookId });
    return findWebhook(tx, webhookId);
  });
}

/** Newest first. */
export async function listDeliveries(
  sql: Sql,
  webhookId: string,
  state: DeliveryState | undefined,
  page: RowRange<readonly [deliveryId: number]>,
): Promise<DeliveryRow[]> {
  return selectDeliveries(
    sql,
    webhookId,
    sql`
      ${state === undefined ? sql`` : sql`AND state = ${state}`}
      ${page.after ? sql`AND delivery_id < ${page.after[0]}` : sql``}
      ORDER BY delivery_id DESC LIMIT ${page.rowsMax}`,
  );
}

/** Returns undefined if there is no such delivery, and `delivered` without a change if it has been delivered. */
export async function retryDelivery(
  sql: Sql,
  webhookId: string,
  deliveryId: number,
  caller: Caller,
): Promise<DeliveryRow | 'delivered' | undefined> {
  return inTransaction(sql, async (tx) => {
    const [before] = await tx<{ state: DeliveryState; saleId: string }[]>`
      SELECT state, sale_id FROM webhook_deliveries
      WHERE webhook_id = ${webhookId} AND delivery_id = ${deliveryId} FOR UPDATE`;
    if (!before) return undefined;
    if (before.state === 'delivered') return 'delivered';
    await tx`
      UPDATE webhook_deliveries
      SET state = 'pending', attempts = 0, due_at = now(), finished_at = NULL,
        give_up_at = now() + interval '24 hours'
      WHERE webhook_id = ${webhookId} AND delivery_id = ${deliveryId}`;
    const details = { webhookId, deliveryId, from: before.state };
    await writeAudit(tx, before.saleId, 'retry-webhook-delivery', caller, details);
    const [row] = await selectDeliveries(tx, webhookId, tx`AND delivery_id = ${deliveryId}`);
    return row;
  });
}

function selectWebhooks(
  sql: Sql | Transaction,
  which: ReturnType<Sql | Transaction>,
): Promise<WebhookRow[]> {
  return sql<WebhookRow[]>`
    SELECT webhook_id, url, description, events, sale_id, status, paused_until, failures_in_row, last_error,
      last_failure_at, last_success_at, created_at, created_at::text AS created_at_exact,
      (SELECT max((earlier->>'signsUntil')::timestamptz) FROM jsonb_array_elements(earlier_secrets) AS earlier
        WHERE (earlier->>'signsUntil')::timestamptz > now()) AS earlier_secrets_until,
      (SELECT count(*)::int FROM webhook_deliveries AS d
        WHERE d.webhook_id = e.webhook_id AND d.state = 'pending') AS pending,
      (SELECT count(*)::int FROM webhook_deliveries AS d
        WHERE d.webhook_id = e.webhook_id AND d.state = 'dead') AS dead
    FROM webhook_endpoints AS e WHERE status <> 'deleted' ${which}`;
}

function selectDeliveries(
  sql: Sql | Transaction,
  webhookId: string,
  which: ReturnType<Sql | Transaction>,
): Promise<DeliveryRow[]> {
  return sql<DeliveryRow[]>`
    SELECT delivery_id, webhook_id, message_id, event_type, sale_id, state, attempts, due_at, last_status,
      last_error, created_at, finished_at
    FROM webhook_deliveries WHERE webhook_id = ${webhookId} ${which}`;
}
