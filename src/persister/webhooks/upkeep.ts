/**
 * Periodic cleanup: gives up deliveries that an endpoint never accepted, and deletes old ones and old secrets. It works in small portions
 * with one statement each, so that locks are short. Several processes share the work.
 */
import type { Sql } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';
import type { Database } from '../database/database.ts';

const ROWS_PER_PORTION = 1_000;
const PORTIONS_PER_ROUND = 20;
const DELIVERED_KEPT_DAYS = 7;
const DEAD_KEPT_DAYS = 30;

export async function tidyUp({ database, metrics }: PersisterContext): Promise<void> {
  metrics.deadDeliveries.inc(await inPortions(database, giveUp));
  await inPortions(database, prune);
  await inPortions(database, removeDeliveriesOfDeleted);
  await database.run(removeDeleted);
  await database.run(removeSecrets);
}

async function inPortions(
  database: Database,
  portion: (sql: Sql) => Promise<{ count: number }>,
): Promise<number> {
  let rows = 0;
  for (let round = 0; round < PORTIONS_PER_ROUND; round++) {
    const { count } = await database.run(portion);
    rows += count;
    if (count < ROWS_PER_PORTION) break;
  }
  return rows;
}

/**
 * Deliveries to a paused endpoint get no attempts, so they expire without one: once the endpoint has failed after their
 * `give_up_at`. Downtime of the persisters alone never expires a delivery. A disabled endpoint gets no attempts at all.
 */
async function giveUp(sql: Sql): Promise<{ count: number }> {
  return sql`
    WITH over AS (
      SELECT d.webhook_id, d.delivery_id FROM webhook_endpoints AS e JOIN webhook_deliveries AS d USING (webhook_id)
      WHERE d.state = 'pending' AND (e.status = 'disabled'
        OR (e.status = 'active' AND e.paused_until IS NOT NULL AND d.give_up_at < e.last_failure_at))
      LIMIT ${ROWS_PER_PORTION} FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE webhook_deliveries AS d
    SET state = 'dead', finished_at = now(), last_error = coalesce(last_error, 'the endpoint accepted nothing for too long')
    FROM over WHERE d.webhook_id = over.webhook_id AND d.delivery_id = over.delivery_id`;
}

async function prune(sql: Sql): Promise<{ count: number }> {
  return sql`
    WITH old AS (
      SELECT webhook_id, delivery_id FROM webhook_deliveries
      WHERE state <> 'pending' AND finished_at < now() - ${`${DELIVERED_KEPT_DAYS} days`}::text::interval
        AND (state = 'delivered' OR finished_at < now() - ${`${DEAD_KEPT_DAYS} days`}::text::interval)
      LIMIT ${ROWS_PER_PORTION} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM webhook_deliveries AS d USING old
    WHERE d.webhook_id = old.webhook_id AND d.delivery_id = old.delivery_id`;
}

async function removeDeliveriesOfDeleted(sql: Sql): Promise<{ count: number }> {
  return sql`
    WITH old AS (
      SELECT webhook_id, delivery_id FROM webhook_endpoints JOIN webhook_deliveries AS d USING (webhook_id)
      WHERE status = 'deleted' LIMIT ${ROWS_PER_PORTION} FOR UPDATE OF d SKIP LOCKED
    )
    DELETE FROM webhook_deliveries AS d USING old
    WHERE d.webhook_id = old.webhook_id AND d.delivery_id = old.delivery_id`;
}

/** Waits an hour, until no transaction can still add a delivery. */
async function removeDeleted(sql: Sql): Promise<void> {
  await sql`
    DELETE FROM webhook_endpoints AS e WHERE status = 'deleted' AND updated_at < now() - interval '1 hour'
      AND NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.webhook_id = e.webhook_id)`;
}

/** Secrets of rotations that are over. */
async function removeSecrets(sql: Sql): Promise<void> {
  await sql`
    UPDATE webhook_endpoints SET earlier_secrets = (
      SELECT coalesce(jsonb_agg(earlier), '[]') FROM jsonb_array_elements(earlier_secrets) AS earlier
      WHERE (earlier->>'signsUntil')::timestamptz > now())
    WHERE EXISTS (
      SELECT FROM jsonb_array_elements(earlier_secrets) AS earlier WHERE (earlier->>'signsUntil')::timestamptz <= now())`;
}
