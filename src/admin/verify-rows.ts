/** What must hold of a sale's rows in PostgreSQL, by itself and against the numbers that Redis has given out. */
import { placeOf } from '../domain/positions.ts';
import { type CheckDefinition, some } from './verify-check.ts';

/** What ending a hold may take while a persister runs: its sweep, and PostgreSQL's hearing of it. */
const HOLD_GRACE_MS = 5_000;

export const ROW_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'every-decision-is-a-row',
    expected: 'every position that was given out is a row',
    find: async ({ servers: { sql }, saleId, state }) => {
      const given = placeOf(state.position, state.gaps);
      // A position belongs to one row by a unique index, so the right count within bounds leaves no other gap.
      const [row] = await sql<{ rows: number; first: number; last: number; dead: number }[]>`
        SELECT count(*) AS rows, coalesce(min(position), 0)::bigint AS first,
          coalesce(max(position), 0)::bigint AS last,
          (SELECT count(*) FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL
            AND event <= ${state.events} AND payload LIKE E'1\\t%') AS dead
        FROM reservations WHERE sale_id = ${saleId} AND position <= ${state.position}`;
      const { rows, first, last, dead } = row!;
      return {
        ok: rows === given - dead && (rows === 0 || first >= 1),
        expected: `${given - dead} rows with positions from 1 to ${state.position}${state.position > given ? `, of which ${state.position - given} were left out` : ''}${dead > 0 ? `, ${dead} being dead letters` : ''}`,
        actual: `${rows} rows, positions from ${first} to ${last}${state.position > given ? `, ${state.position - given} of them left out by recoveries` : ''}`,
      };
    },
  },
  {
    name: 'nothing-undecided-is-a-row',
    expected: 'no row and no event beyond what Redis has decided',
    find: async ({ servers: { sql }, saleId, readState }) => {
      // PostgreSQL first: whatever it has, Redis must have decided before.
      const [row] = await sql<{ position: number; event: number }[]>`
        SELECT coalesce((SELECT max(position) FROM reservations WHERE sale_id = ${saleId}), 0)::bigint AS position,
          coalesce((SELECT max(event) FROM reservation_events WHERE sale_id = ${saleId}), 0)::bigint AS event`;
      const state = await readState();
      return {
        ok: row!.position <= state.position && row!.event <= state.events,
        expected: `no position above ${state.position}, no event above ${state.events}`,
        actual: `positions up to ${row!.position}, events up to ${row!.event}`,
      };
    },
  },
  {
    name: 'every-event-is-kept',
    expected: 'every event that was numbered is kept',
    find: async ({ servers: { sql }, saleId, state }) => {
      const [row] = await sql<{ events: number; dead: number }[]>`
        SELECT count(*) AS events,
          (SELECT count(*) FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL
            AND event <= ${state.events}) AS dead
        FROM reservation_events WHERE sale_id = ${saleId} AND event BETWEEN 1 AND ${state.events}`;
      const { events, dead } = row!;
      return {
        ok: events === state.events - dead,
        expected: `${state.events - dead} events${dead > 0 ? `, ${dead} being dead letters` : ''}`,
        actual: `${events} events`,
      };
    },
  },
  {
    name: 'every-history-is-complete',
    expected: 'every reservation has the events 1 to its version, the last with its status',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ reservationId: string }[]>`
        SELECT coalesce(r.reservation_id, e.reservation_id) AS reservation_id
        FROM (SELECT reservation_id, version, status FROM reservations WHERE sale_id = ${saleId}) r
        FULL JOIN (
          SELECT reservation_id, count(*) AS events, min(version) AS first, max(version) AS last,
            (array_agg(status ORDER BY version DESC))[1] AS status
          FROM reservation_events WHERE sale_id = ${saleId} GROUP BY reservation_id
        ) e USING (reservation_id)
        WHERE (e.first, e.last, e.events, e.status) IS DISTINCT FROM (1, r.version, r.version::bigint, r.status)
        LIMIT 20`;
      return noneOf(wrong.map(({ reservationId }) => reservationId));
    },
  },
  {
    name: 'one-answer-to-each-request',
    expected: 'one reservation for each idempotency key of a buyer; without a key, one that lives',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ buyerId: string; reservations: number }[]>`
        SELECT buyer_id, count(*) AS reservations FROM reservations
        WHERE sale_id = ${saleId} AND (idempotency_key <> '' OR status IN ('reserved', 'confirmed'))
        GROUP BY buyer_id, idempotency_key HAVING count(*) > 1 LIMIT 20`;
      return noneOf(wrong.map(({ buyerId, reservations }) => `${buyerId} has ${reservations}`));
    },
  },
  {
    name: 'nobody-is-above-the-limit',
    expected: 'nobody holds or owns more than one buyer may have',
    find: async ({ servers: { sql }, saleId }) => {
      // The highest that the limit ever was: lowering it takes nothing from those who have more.
      const [row] = await sql<{ limit: number | null }[]>`
        SELECT max((definition->>'perBuyerLimit')::bigint) AS limit FROM sale_operations
        WHERE sale_id = ${saleId}`;
      const limit = row?.limit ?? 0;
      const wrong = await sql<{ buyerId: string; units: number }[]>`
        SELECT buyer_id, sum(item.quantity)::bigint AS units
        FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
        WHERE sale_id = ${saleId} AND status IN ('reserved', 'confirmed')
        GROUP BY buyer_id HAVING sum(item.quantity) > ${limit} LIMIT 20`;
      return {
        ...noneOf(wrong.map(({ buyerId, units }) => `${buyerId} has ${units}`)),
        expected: `no buyer holds or owns more than ${limit} units`,
      };
    },
  },
  {
    name: 'no-hold-outlives-its-deadline',
    expected: `no hold is over for more than ${HOLD_GRACE_MS / 1000} s and still held`,
    find: async ({ servers: { sql }, saleId, state }) => {
      // By Redis' clock, which the deadlines are of. That Redis and the rows agree is another check.
      const [row] = await sql<{ overdue: number; oldestMs: number | null }[]>`
        SELECT count(*) AS overdue,
          (${state.nowMs}::bigint - min(extract(epoch FROM expires_at)) * 1000)::bigint AS oldest_ms
        FROM reservations WHERE sale_id = ${saleId} AND status = 'reserved'
          AND expires_at < ${new Date(state.nowMs - HOLD_GRACE_MS)}`;
      const { overdue, oldestMs } = row!;
      return {
        ok: overdue === 0,
        actual: overdue === 0 ? 'none is' : `${overdue}, the oldest for ${oldestMs} ms`,
      };
    },
  },
  {
    name: 'no-dead-letters',
    expected: 'PostgreSQL has refused no event of the sale',
    find: async ({ servers: { sql }, saleId }) => {
      const [row] = await sql<{ unresolved: number }[]>`
        SELECT count(*) AS unresolved FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL`;
      return { ok: row!.unresolved === 0, actual: `${row!.unresolved} unresolved` };
    },
  },
];

function noneOf(wrong: readonly string[]) {
  return { ok: wrong.length === 0, actual: wrong.length === 0 ? 'no exception' : some(wrong) };
}
