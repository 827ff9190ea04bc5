/** Servers for a webhook test, and the rows of webhook endpoints and deliveries in PostgreSQL. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Sql } from '../../src/postgres/connection.ts';
import { SECRET } from '../network/webhook-receiver.ts';
import { type Connections, useServers } from '../servers/connections.ts';
import type { Scope } from '../use.ts';

export interface Engine extends Pick<Connections, 'shards' | 'sql'> {
  redisUrl: string;
  databaseUrl: string;
}

export async function useEngine(scope: Scope): Promise<Engine> {
  const { redis, database, servers } = await useServers(scope);
  const { shards, sql } = servers;
  return { shards, sql, redisUrl: redis.url, databaseUrl: database.url };
}

export interface Subscription {
  events?: string[];
  saleId?: string;
}

/** Inserts the endpoint directly: the tests of admin cover its API. */
export async function subscribe(
  sql: Sql,
  url: string,
  { events = [], saleId }: Subscription = {},
): Promise<string> {
  const webhookId = `wh_${randomBytes(6).toString('hex')}`;
  await sql`
    INSERT INTO webhook_endpoints (webhook_id, url, events, sale_id, secret)
    VALUES (${webhookId}, ${url}, ${events}, ${saleId ?? null}, ${SECRET})`;
  return webhookId;
}

export interface EndpointRow {
  status: string;
  pausedUntil: Date | null;
  failuresInRow: number;
  pausesInRow: number;
  lastError: string | null;
}

export async function endpointOf(sql: Sql, webhookId: string): Promise<EndpointRow> {
  const [row] = await sql<EndpointRow[]>`
    SELECT status, paused_until, failures_in_row, pauses_in_row, last_error FROM webhook_endpoints
    WHERE webhook_id = ${webhookId}`;
  assert.ok(row, 'there is no such endpoint');
  return row;
}

export interface DeliveryRow {
  deliveryId: number;
  messageId: string;
  eventType: string;
  state: string;
  attempts: number;
  lastStatus: number | null;
  lastError: string | null;
}

export async function deliveriesOf(sql: Sql, webhookId: string): Promise<DeliveryRow[]> {
  return [
    ...(await sql<DeliveryRow[]>`
      SELECT delivery_id, message_id, event_type, state, attempts, last_status, last_error FROM webhook_deliveries
      WHERE webhook_id = ${webhookId} ORDER BY delivery_id`),
  ];
}

/** How many deliveries are in each state. */
export async function statesOf(sql: Sql, webhookId: string): Promise<Record<string, number>> {
  const states: Record<string, number> = {};
  for (const { state } of await deliveriesOf(sql, webhookId)) {
    states[state] = (states[state] ?? 0) + 1;
  }
  return states;
}

/** The ids of the messages that a sale's events must produce. */
export async function expectedIds(sql: Sql, saleId: string): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    SELECT 'evt_' || reservation_id || '_' || version AS id FROM reservation_history WHERE sale_id = ${saleId}`;
  return rows.map(({ id }) => id).sort();
}
