/**
 * What is to be sent next, taken so that nobody else takes it: `due_at` moves on by a lease. A process that is killed
 * needs no cleaning up after; what it had taken falls due again by itself.
 */
import type { Sql } from '../../postgres/connection.ts';
import type { Outgoing } from './send.ts';

export interface Claimed extends Outgoing {
  deliveryId: number;
  webhookId: string;
  /** Tries so far. */
  attempts: number;
  /** The one try that a paused endpoint gets when its time is over. */
  isProbe: boolean;
}

export interface Room {
  /** Tries that may begin in all, and for one endpoint. */
  total: number;
  perEndpoint: number;
  /** What is under way, by endpoint. */
  underWay: ReadonlyMap<string, number>;
  leaseMs: number;
}

export async function claim(sql: Sql, room: Room): Promise<Claimed[]> {
  const [probes, due] = await Promise.all([claimProbes(sql, room), claimDue(sql, room)]);
  return [...probes, ...due];
}

/**
 * Of each endpoint that is not paused as many as it has room for; one that has just failed gets one at a time. Where
 * the total is less, chance decides among endpoints, so that the same ones are not always first.
 */
function claimDue(sql: Sql, room: Room): Promise<Claimed[]> {
  return sql<Claimed[]>`
    WITH ready AS (
      SELECT webhook_id, url, secret,
        CASE WHEN failures_in_row > 0 THEN 1 ELSE ${room.perEndpoint}::integer END - coalesce(count, 0) AS room
      FROM webhook_endpoints LEFT JOIN unnest(
        ${[...room.underWay.keys()]}::text[],
        ${[...room.underWay.values()].map(String)}::text[]::integer[]) AS under_way(webhook_id, count) USING (webhook_id)
      WHERE status = 'active' AND paused_until IS NULL
    ), taken AS (
      SELECT webhook_id, url, secret, delivery_id FROM ready CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_deliveries AS d
        WHERE d.webhook_id = ready.webhook_id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at LIMIT greatest(room, 0) FOR UPDATE SKIP LOCKED
      ) AS due
      ORDER BY random() LIMIT ${room.total}
    )
    UPDATE webhook_deliveries AS d SET due_at = now() + ${room.leaseMs}::integer * interval '1 ms'
    FROM taken WHERE d.webhook_id = taken.webhook_id AND d.delivery_id = taken.delivery_id
    RETURNING d.delivery_id, d.webhook_id, d.message_id, d.payload, d.attempts, taken.url, taken.secret,
      false AS is_probe`;
}

/** Of each endpoint whose pause is over one; the pause goes on meanwhile, so that the others' probes wait for it. */
function claimProbes(sql: Sql, room: Room): Promise<Claimed[]> {
  const lease = sql`now() + ${room.leaseMs}::integer * interval '1 ms'`;
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
      RETURNING e.webhook_id, e.url, e.secret, ready.delivery_id
    )
    UPDATE webhook_deliveries AS d SET due_at = ${lease}
    FROM probing WHERE d.webhook_id = probing.webhook_id AND d.delivery_id = probing.delivery_id
    RETURNING d.delivery_id, d.webhook_id, d.message_id, d.payload, d.attempts, probing.url, probing.secret,
      true AS is_probe`;
}

/** Gives back what was taken and not tried to the end. */
export async function release(sql: Sql, claimed: readonly Claimed[]): Promise<void> {
  await sql`
    UPDATE webhook_deliveries AS d SET due_at = now()
    FROM unnest(${claimed.map((one) => one.webhookId)}::text[],
      ${claimed.map((one) => String(one.deliveryId))}::text[]::bigint[]) AS mine(webhook_id, delivery_id)
    WHERE d.webhook_id = mine.webhook_id AND d.delivery_id = mine.delivery_id AND state = 'pending'`;
}
