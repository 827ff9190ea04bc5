/**
 * Makes deliveries from the outbox: one for each endpoint that receives the message. The rows of reservations do not wait
 * for it. One statement moves some messages, so none is lost or delivered to half of its endpoints. Persisters share the
 * work.
 */
import type { Sql } from '../../postgres/connection.ts';

/** With the most endpoints that admin accepts, one statement inserts 10,000 deliveries. */
export const MESSAGES_PER_FAN_OUT = 100;

/** Returns how many messages it moved. An endpoint gets no messages from before its creation. */
export async function fanOut(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    WITH taken AS (
      DELETE FROM webhook_messages WHERE number IN (
        SELECT number FROM webhook_messages ORDER BY number LIMIT ${MESSAGES_PER_FAN_OUT} FOR UPDATE SKIP LOCKED)
      RETURNING *
    ), made AS (
      INSERT INTO webhook_deliveries (webhook_id, message_id, event_type, sale_id, payload)
      SELECT e.webhook_id, t.message_id, t.event_type, t.sale_id, t.payload
      FROM taken AS t JOIN webhook_endpoints AS e ON e.status = 'active' AND e.created_at <= t.created_at
        AND (e.sale_id IS NULL OR e.sale_id = t.sale_id) AND (e.events = '{}' OR t.event_type = ANY(e.events))
    )
    SELECT count(*) AS count FROM taken`;
  return row!.count;
}
