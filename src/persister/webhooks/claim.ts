/**
 * Claims due deliveries for this process by moving `due_at` forward by a lease. Deliveries of a killed process become due
 * again without cleanup.
 */
import type { Sql } from '../../postgres/connection.ts';
import type { Outgoing } from './send.ts';

export interface Claimed extends Outgoing {
  deliveryId: number;
  webhookId: string;
  /** Attempts so far. */
  attempts: number;
  /** The single attempt that an endpoint gets when its pause is over. */
  isProbe: boolean;
}

export interface Capacity {
  /** Attempts that may begin in total, and for one endpoint. */
  total: number;
  perEndpoint: number;
  /** Attempts in flight, by endpoint. */
  inFlight: ReadonlyMap<string, number>;
  leaseMs: number;
}

export async function claim(sql: Sql, capacity: Capacity): Promise<Claimed[]> {
  const [probes, due] = await Promise.all([claimProbes(sql, capacity), claimDue(sql, capacity)]);
  return [...probes, ...due];
}

/**
 * Claims for each endpoint that is not paused up to its capacity; after a failure, one at a time. If the total capacity
 * is lower, a random choice keeps the same endpoints from always being first.
 */
function claimDue(sql: Sql, capacity: Capacity): Promise<Claimed[]> {
  return sql<Claimed[]>`
    WITH ready AS (
      SELECT webhook_id, url, ${secretsOf(sql)} AS secrets,
        CASE WHEN failures_in_row > 0 THEN 1 ELSE ${capacity.perEndpoint}::integer END - coalesce(count, 0) AS room
      FROM webhook_endpoints LEFT JOIN unnest(
        ${[...capacity.inFlight.keys()]}::text[],
        ${[...capacity.inFlight.values()].map(String)}::text[]::integer[]) AS in_flight(webhook_id, count) USING (webhook_id)
      WHERE status = 'active' AND paused_until IS NULL
    ), taken AS (
      SELECT webhook_id, url, secrets, delivery_id FROM ready CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_deliveries AS d
        WHERE d.webhook_id = ready.webhook_id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at LIMIT greatest(room, 0) FOR UPDATE SKIP LOCKED
      ) AS due
      ORDER BY random() LIMIT ${capacity.total}
    )
    UPDATE webhook_deliveries AS d SET due_at = now() + ${capacity.leaseMs}::integer * interval '1 ms'
    FROM taken WHERE d.webhook_id = taken.webhook_id AND d.delivery_id = taken.delivery_id
    RETURNING d.delivery_id, d.webhook_id, d.message_id, d.payload, d.attempts, taken.url, taken.secrets,
      false AS is_probe`;
}

/** Claims one delivery for each endpoint whose pause is over, and extends the pause so that there is one probe only. */
function claimProbes(sql: Sql, capacity: Capacity): Promise<Claimed[]> {
  const lease = sql`now() + ${capacity.leaseMs}::integer * interval '1 ms'`;
  return sql<Claimed[]>`
    WITH ready AS (
      SELECT webhook_id, delivery_id FROM (
        SELECT webhook_id FROM webhook_endpoints WHERE status = 'active' AND paused_until <= now()
        FOR NO KEY UPDATE SKIP LOCKED
      ) AS over CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_deliveries AS d
        WHERE d.webhook_id = over.webhook_id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
      ) AS due
    ), probing AS (
      UPDATE webhook_endpoints AS e SET paused_until = ${lease} FROM ready
      WHERE e.webhook_id = ready.webhook_id
      RETURNING e.webhook_id, e.url, ${secretsOf(sql)} AS secrets, ready.delivery_id
    )
    UPDATE webhook_deliveries AS d SET due_at = ${lease}
    FROM probing WHERE d.webhook_id = probing.webhook_id AND d.delivery_id = probing.delivery_id
    RETURNING d.delivery_id, d.webhook_id, d.message_id, d.payload, d.attempts, probing.url, probing.secrets,
      true AS is_probe`;
}

/** The secret of the endpoint, then the earlier ones that still sign. */
function secretsOf(sql: Sql) {
  return sql`array_prepend(secret, ARRAY(
    SELECT earlier->>'secret' FROM jsonb_array_elements(earlier_secrets) AS earlier
    WHERE (earlier->>'signsUntil')::timestamptz > now()))`;
}

/** Returns deliveries whose attempt was cut off. */
export async function release(sql: Sql, claimed: readonly Claimed[]): Promise<void> {
  await sql`
    UPDATE webhook_deliveries AS d SET due_at = now()
    FROM unnest(${claimed.map((one) => one.webhookId)}::text[],
      ${claimed.map((one) => String(one.deliveryId))}::text[]::bigint[]) AS mine(webhook_id, delivery_id)
    WHERE d.webhook_id = mine.webhook_id AND d.delivery_id = mine.delivery_id AND state = 'pending'`;
}
