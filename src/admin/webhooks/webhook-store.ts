/**
 * Webhook endpoints and their deliveries, as operators see and change them. The secret is read by nothing here: it is
 * shown once, by the creation that made it, and after that only signs.
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
import type { Sql, Transaction } from '../../postgres/connection.ts';
import type { Caller } from '../context.ts';
import { writeAudit } from '../http/audit.ts';

/** Standard Webhooks asks for 24 to 64. */
const SECRET_BYTES = 32;
/** A name that takes longer to look up is judged when it is connected to. */
const LOOKUP_MS_MAX = 2_000;

export interface NewWebhook {
  url: string;
  description: string;
  /** Empty: all. */
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
  createdAt: Date;
  /** To the microsecond, for the cursor. */
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
 * What is wrong with a target; undefined: nothing that can be seen from here. A name that nobody can look up now may
 * exist later, and each connection is judged again.
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

/** False: there is no such sale. */
export async function saleExists(sql: Sql, saleId: string): Promise<boolean> {
  const rows = await sql`SELECT FROM sales WHERE sale_id = ${saleId}`;
  return rows.length > 0;
}

export async function createWebhook(
  sql: Sql,
  wish: NewWebhook,
  caller: Caller,
): Promise<{ row: WebhookRow; secret: string }> {
  const webhookId = `wh_${nanoid()}`;
  const secret = `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
  const { url, description, events, saleId } = wish;
  return sql.begin(async (tx) => {
    await tx`
      INSERT INTO webhook_endpoints (webhook_id, url, description, events, sale_id, secret)
      VALUES (${webhookId}, ${url}, ${description}, ${events}, ${saleId}, ${secret})`;
    // Viewers read the audit, and some put a token into the path: only where it leads is told.
    const details = { webhookId, origin: new URL(url).origin, events };
    await writeAudit(tx, saleId, 'create-webhook', caller, details);
    return { row: (await findWebhook(tx, webhookId))!, secret };
  });
}

export async function findWebhook(
  sql: Sql | Transaction,
  webhookId: string,
): Promise<WebhookRow | undefined> {
  const [row] = await selectWebhooks(sql, sql`AND webhook_id = ${webhookId}`);
  return row;
}

/** Newest first, `limit` of them. */
export async function listWebhooks(
  sql: Sql,
  page: { limit: number; after: readonly [string, string] | undefined },
): Promise<WebhookRow[]> {
  const after = page.after
    ? sql`AND (created_at, webhook_id) < (${page.after[0]}::text::timestamptz, ${page.after[1]})`
    : sql``;
  return selectWebhooks(
    sql,
    sql`${after} ORDER BY created_at DESC, webhook_id DESC LIMIT ${page.limit}`,
  );
}

/** Its deliveries are removed by the persister, a few at a time. False: there is none of that id. */
export async function deleteWebhook(sql: Sql, webhookId: string, caller: Caller): Promise<boolean> {
  return sql.begin(async (tx) => {
    const [row] = await tx<{ saleId: string | null }[]>`
      UPDATE webhook_endpoints SET status = 'deleted', secret = '', url = '', updated_at = now()
      WHERE webhook_id = ${webhookId} AND status <> 'deleted' RETURNING sale_id`;
    if (row) await writeAudit(tx, row.saleId, 'delete-webhook', caller, { webhookId });
    return row !== undefined;
  });
}

/** Closes the breaker, or enables it again; what waits is tried now. */
export async function resumeWebhook(
  sql: Sql,
  webhookId: string,
  caller: Caller,
): Promise<WebhookRow | undefined> {
  return sql.begin(async (tx) => {
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

/** Newest first, `limit` of them. */
export async function listDeliveries(
  sql: Sql,
  webhookId: string,
  page: { limit: number; after: number | undefined; state: DeliveryState | undefined },
): Promise<DeliveryRow[]> {
  return selectDeliveries(
    sql,
    webhookId,
    sql`
      ${page.state === undefined ? sql`` : sql`AND state = ${page.state}`}
      ${page.after === undefined ? sql`` : sql`AND delivery_id < ${page.after}`}
      ORDER BY delivery_id DESC LIMIT ${page.limit}`,
  );
}

/** Undefined: there is none of that id. `delivered`: it has arrived, nothing was changed. */
export async function retryDelivery(
  sql: Sql,
  webhookId: string,
  deliveryId: number,
  caller: Caller,
): Promise<DeliveryRow | 'delivered' | undefined> {
  return sql.begin(async (tx) => {
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
