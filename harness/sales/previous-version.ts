/** Rows as an earlier version of the engine wrote them: the first event of a reservation was a row of its own. */
import type { Sql } from '../../src/postgres/connection.ts';

/** Moves the first events of some reservations to the history. `where`: of a row of `reservations`, as SQL. */
export async function moveFirstEvents(sql: Sql, where: string): Promise<void> {
  await sql.begin(async (transaction) => {
    const moved = await transaction.unsafe<{ id: string; event: string }[]>(`
      UPDATE reservations AS r SET first_event = NULL
      FROM (SELECT reservation_id, first_event FROM reservations WHERE ${where}) AS before
      WHERE r.reservation_id = before.reservation_id AND before.first_event IS NOT NULL
      RETURNING r.reservation_id AS id, before.first_event::text AS event`);
    await transaction`
      INSERT INTO reservation_events
        (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
      SELECT r.reservation_id, 1, sale_id, moved.event, 'reserved', reserved_at,
        CASE r.source WHEN 'waitlist' THEN 'waitlist' ELSE '' END, request_id, traceparent
      FROM unnest(${moved.map(({ id }) => id)}::text[], ${moved.map(({ event }) => event)}::text[]::bigint[])
        AS moved(reservation_id, event) JOIN reservations r USING (reservation_id)`;
  });
}
