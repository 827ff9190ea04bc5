/** Checks of the rows of a sale in PostgreSQL, on their own and against the numbers that Redis has assigned. */

import { type Gap, ordinalOf } from '../domain/positions.ts';
import {
  EVENT_LINE_POSITION,
  EVENT_LINE_VERSION,
  FIRST_EVENT_LINE_POSITION,
} from '../domain/reservation-codec.ts';
import { type CheckDefinition, counted, noneOf, type Servers, withHashJoins } from './check.ts';

/** While a persister runs, its sweep ends a hold and the event reaches PostgreSQL within this time. */
const HOLD_GRACE_MS = 5_000;

export const ROW_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'every-decision-is-a-row',
    expected: 'every assigned position is a row',
    find: async ({ servers: { sql }, saleId, state }) => {
      const assigned = ordinalOf(state.position, state.gaps);
      // A unique index gives a position one row, so the right count within the bounds proves that there is no gap.
      const [row] = await sql<{ rows: number; first: number; last: number }[]>`
        SELECT count(*) AS rows, coalesce(min(position), 0)::bigint AS first,
          coalesce(max(position), 0)::bigint AS last
        FROM reservations WHERE sale_id = ${saleId} AND position <= ${state.position}`;
      const letters = await sql<{ position: number; discarded: boolean }[]>`
        SELECT position, discarded FROM (
          SELECT substring(payload FROM ${FIRST_EVENT_LINE_POSITION})::bigint AS position, discard_reason IS NOT NULL AS discarded
          FROM dead_letters WHERE sale_id = ${saleId} AND event <= ${state.events}
            AND (resolved_at IS NULL OR discard_reason IS NOT NULL)) letter
        WHERE position <= ${state.position} AND NOT EXISTS (
          SELECT FROM reservations WHERE sale_id = ${saleId} AND position = letter.position)`;
      const { rows, first, last } = row!;
      // A rebuilt sale skips the positions of discarded events.
      const missing = letters.filter(({ position }) => isAssigned(position, state.gaps));
      const skipped = state.position - assigned;
      const skippedBefore = last - ordinalOf(last, state.gaps);
      return {
        ok: rows === assigned - missing.length && (rows === 0 || first >= 1),
        expected: `${counted(assigned - missing.length, 'row')} with positions from 1 to ${state.position}${skipped > 0 ? `, of which ${skipped} were skipped` : ''}${exceptLetters(missing)}`,
        actual: `${counted(rows, 'row')}, positions from ${first} to ${last}${skippedText(skippedBefore, skipped - skippedBefore)}`,
      };
    },
  },
  {
    name: 'nothing-undecided-is-a-row',
    expected: 'no row and no event that Redis has not decided',
    find: async ({ servers: { sql }, saleId, readState }) => {
      // PostgreSQL first: Redis must have decided everything that it has.
      const [row] = await sql<{ position: number; event: number }[]>`
        SELECT coalesce((SELECT max(position) FROM reservations WHERE sale_id = ${saleId}), 0)::bigint AS position,
          coalesce((SELECT max(event) FROM reservation_history WHERE sale_id = ${saleId}), 0)::bigint AS event`;
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
    expected: 'PostgreSQL has every numbered event once',
    find: async ({ servers: { sql }, saleId, state }) => {
      const [row] = await sql<{ events: number; repeated: number; entries: number }[]>`
        SELECT count(DISTINCT event) AS events, count(*) - count(DISTINCT event) AS repeated,
          (SELECT count(*) FROM dead_letters
            WHERE sale_id = ${saleId} AND event IS NULL AND discard_reason IS NOT NULL) AS entries
        FROM reservation_history WHERE sale_id = ${saleId} AND event BETWEEN 1 AND ${state.events}`;
      const letters = await sql<{ event: number; discarded: boolean }[]>`
        SELECT event, discard_reason IS NOT NULL AS discarded FROM dead_letters letter
        WHERE sale_id = ${saleId} AND event <= ${state.events}
          AND (resolved_at IS NULL OR discard_reason IS NOT NULL)
          AND NOT EXISTS (
            SELECT FROM reservation_history WHERE sale_id = ${saleId} AND event = letter.event)`;
      const { events, repeated, entries } = row!;
      const twice = repeated > 0 ? `, ${counted(repeated, 'number')} more than once` : '';
      const kept = state.events - letters.length;
      if (entries === 0 || events >= kept) {
        return {
          ok: events === kept && repeated === 0,
          expected: `${counted(kept, 'event')}${exceptLetters(letters)}`,
          actual: `${counted(events, 'event')}${twice}`,
        };
      }
      // The number of events in an unreadable entry is unknown, but they were consecutive.
      const [missing] = await sql<{ runs: number }[]>`
        SELECT count(*) AS runs FROM (
          SELECT event - lag(event, 1, 0::bigint) OVER (ORDER BY event) AS step FROM (
            SELECT event FROM reservation_history WHERE sale_id = ${saleId} AND event BETWEEN 1 AND ${state.events}
            UNION ALL SELECT unnest(${letters.map(({ event }) => String(event))}::text[]::bigint[])
            UNION ALL SELECT ${state.events + 1}::bigint) known) steps
        WHERE step > 1`;
      return {
        ok: missing!.runs <= entries && repeated === 0,
        expected: `${counted(kept, 'event')}${exceptLetters(letters)}, except those in ${counted(entries, 'discarded entry', 'discarded entries')} that could not be parsed`,
        actual: `${counted(events, 'event')}, with ${counted(missing!.runs, 'gap')}${twice}`,
      };
    },
  },
  {
    name: 'every-history-is-complete',
    isExact: true,
    expected:
      'every reservation has the events 1 to its version, except discarded ones, and the status of the last',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await withHashJoins(
        sql,
        (tx) => tx<{ reservationId: string }[]>`
        SELECT coalesce(r.reservation_id, e.reservation_id) AS reservation_id
        FROM (SELECT reservation_id, version, status FROM reservations WHERE sale_id = ${saleId}) r
        FULL JOIN (
          SELECT reservation_id, count(*) AS events, min(version) AS first, max(version) AS last,
            (array_agg(status ORDER BY version DESC))[1] AS status
          FROM (
            SELECT reservation_id, version, status FROM reservation_history WHERE sale_id = ${saleId}
            UNION ALL
            -- A discarded event counts if PostgreSQL has a later event of the reservation.
            SELECT kept.reservation_id, letter.version, '' FROM (
              SELECT substring(payload FROM ${EVENT_LINE_VERSION})::integer AS version,
                substring(payload FROM ${EVENT_LINE_POSITION})::bigint AS position
              FROM dead_letters WHERE sale_id = ${saleId} AND event IS NOT NULL AND discard_reason IS NOT NULL) letter
            JOIN reservations kept
              ON kept.sale_id = ${saleId} AND kept.position = letter.position AND kept.version > letter.version
            WHERE NOT EXISTS (SELECT FROM reservation_history present
              WHERE present.reservation_id = kept.reservation_id AND present.version = letter.version)
          ) history GROUP BY reservation_id
        ) e USING (reservation_id)
        WHERE (e.first, e.last, e.events, e.status) IS DISTINCT FROM (1, r.version, r.version::bigint, r.status)
        LIMIT 20`,
      );
      return noneOf(wrong.map(({ reservationId }) => reservationId));
    },
  },
  {
    name: 'one-answer-to-each-request',
    isExact: true,
    expected:
      'one reservation per idempotency key of a buyer; without a key, one per basket that is reserved or confirmed',
    find: async ({ servers: { sql }, saleId }) => {
      // The baskets are made only of buyers with several keyless reservations, because that takes long.
      const wrong = await sql<{ buyerId: string; reservations: number }[]>`
        WITH answers AS (
          SELECT buyer_id, idempotency_key, count(*) AS reservations,
            CASE WHEN idempotency_key = '' THEN array_agg(reservation_id) END AS ids
          FROM reservations
          WHERE sale_id = ${saleId} AND (idempotency_key <> '' OR status IN ('reserved', 'confirmed'))
          GROUP BY buyer_id, idempotency_key HAVING count(*) > 1)
        SELECT buyer_id, reservations FROM answers WHERE idempotency_key <> ''
        UNION ALL
        SELECT buyer_id, count(*) FROM (
          SELECT buyer_id, (SELECT string_agg(concat(item->>'sku', '*',
              (item->>'quantity')::bigint + coalesce((item->>'cancelled')::bigint, 0)), ',' ORDER BY item->>'sku')
            FROM jsonb_array_elements(items) AS item) AS basket
          FROM (SELECT buyer_id, unnest(ids) AS reservation_id FROM answers WHERE idempotency_key = '') several
          JOIN reservations USING (buyer_id, reservation_id)
          -- The buyer may have bought the same again before a merchant reclaimed the first.
          WHERE NOT EXISTS (SELECT FROM reservation_events ended
            WHERE ended.reservation_id = several.reservation_id AND ended.status = 'expired')) keyless
        GROUP BY buyer_id, basket HAVING count(*) > 1
        LIMIT 20`;
      return noneOf(wrong.map(({ buyerId, reservations }) => `${buyerId} has ${reservations}`));
    },
  },
  {
    name: 'nobody-is-above-the-limit',
    expected: 'no buyer has more units than the limits',
    find: async ({ servers: { sql }, saleId }) => {
      // The highest limit the sale ever had: lowering it does not affect buyers who have more.
      const [row] = await sql<{ limit: number | null }[]>`
        SELECT max((definition->>'perBuyerLimit')::bigint) AS limit FROM sale_operations
        WHERE sale_id = ${saleId}`;
      const limit = row?.limit ?? 0;
      const wrong = await sql<{ buyerId: string; units: number }[]>`
        SELECT buyer_id, sum(item.quantity)::bigint AS units
        FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
        WHERE sale_id = ${saleId} AND status IN ('reserved', 'confirmed')
        GROUP BY buyer_id HAVING sum(item.quantity) > ${limit} LIMIT 20`;
      const above = wrong.map(({ buyerId, units }) => `${buyerId} has ${units}`);
      return {
        ...noneOf([...above, ...(await aboveSkuLimits(sql, saleId))]),
        expected: `no buyer has more than ${counted(limit, 'unit')} reserved or confirmed, or more of a SKU than its own limit`,
      };
    },
  },
  {
    name: 'no-hold-outlives-its-deadline',
    expected: `no hold is reserved more than ${HOLD_GRACE_MS / 1000} s after its deadline`,
    find: async ({ servers: { sql }, saleId, state }) => {
      // By the clock of Redis, which sets the deadlines. Another check compares Redis with the rows.
      const [row] = await sql<{ overdue: number; oldestMs: number | null }[]>`
        SELECT count(*) AS overdue,
          (${state.nowMs}::bigint - min(extract(epoch FROM expires_at)) * 1000)::bigint AS oldest_ms
        FROM reservations WHERE sale_id = ${saleId} AND status = 'reserved'
          AND expires_at < ${new Date(state.nowMs - HOLD_GRACE_MS)}`;
      const { overdue, oldestMs } = row!;
      return {
        ok: overdue === 0,
        actual: overdue === 0 ? 'none' : `${overdue}, the oldest for ${oldestMs} ms`,
      };
    },
  },
  {
    name: 'time-goes-on',
    expected: "the sale's time in Redis is not before its latest decision",
    find: async ({ servers: { sql }, saleId, state }) => {
      const [row] = await sql<{ latestMs: number }[]>`
        SELECT greatest(
          (SELECT extract(epoch FROM reserved_at) * 1000 FROM reservations
            WHERE sale_id = ${saleId} AND position <= ${state.position} ORDER BY position DESC LIMIT 1),
          (SELECT extract(epoch FROM occurred_at) * 1000 FROM reservation_events
            WHERE sale_id = ${saleId} AND event <= ${state.events} ORDER BY event DESC LIMIT 1), 0)::bigint AS latest_ms`;
      const isReadable = Number.isSafeInteger(state.newestMs);
      const lateMs = row!.latestMs - state.nowMs;
      return {
        ok: isReadable && lateMs <= 0,
        actual: !isReadable
          ? 'unreadable'
          : lateMs > 0
            ? `${lateMs} ms before it`
            : 'not before it',
      };
    },
  },
  {
    name: 'no-dead-letters',
    expected: 'no dead letter of the sale is unresolved',
    find: async ({ servers: { sql }, saleId }) => {
      const [row] = await sql<{ unresolved: number; discarded: number }[]>`
        SELECT count(*) FILTER (WHERE resolved_at IS NULL) AS unresolved,
          count(*) FILTER (WHERE discard_reason IS NOT NULL) AS discarded
        FROM dead_letters WHERE sale_id = ${saleId}`;
      const { unresolved, discarded } = row!;
      return {
        ok: unresolved === 0,
        actual: `${unresolved} unresolved${discarded > 0 ? `, ${discarded} discarded by operators` : ''}`,
      };
    },
  },
];

/** By the highest limit that each SKU ever had. A SKU that had none for a time is not checked. */
async function aboveSkuLimits(sql: Servers['sql'], saleId: string): Promise<string[]> {
  const limits = await sql<{ sku: string; most: number }[]>`
    SELECT sku->>'sku' AS sku, max((sku->>'perBuyerLimit')::bigint) AS most
    FROM sale_operations, jsonb_array_elements(definition->'skus') AS sku
    WHERE sale_id = ${saleId} GROUP BY 1 HAVING bool_and(sku ? 'perBuyerLimit')`;
  if (limits.length === 0) return [];
  const wrong = await sql<{ buyerId: string; sku: string; units: number }[]>`
    SELECT buyer_id, item.sku, sum(item.quantity)::bigint AS units
    FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
    JOIN jsonb_to_recordset(${sql.json(limits.map((each) => ({ ...each })))}) AS limits(sku text, most bigint) USING (sku)
    WHERE sale_id = ${saleId} AND status IN ('reserved', 'confirmed')
    GROUP BY buyer_id, item.sku, most HAVING sum(item.quantity) > most LIMIT 20`;
  return wrong.map(({ buyerId, sku, units }) => `${buyerId} has ${units} of ${sku}`);
}

/** Whether a position was assigned and not skipped. */
function isAssigned(position: number, gaps: readonly Gap[]): boolean {
  return ordinalOf(position, gaps) > ordinalOf(position - 1, gaps);
}

/** The positions that recoveries skipped before and after the last row. */
function skippedText(before: number, after: number): string {
  return `${before > 0 ? `, ${before} of them skipped by recoveries` : ''}${after > 0 ? `, the next ${after} skipped by recoveries` : ''}`;
}

function exceptLetters(letters: readonly { discarded: boolean }[]): string {
  const discarded = letters.filter((letter) => letter.discarded).length;
  const unresolved = letters.length - discarded;
  const texts = [
    ...(unresolved > 0 ? [counted(unresolved, 'dead letter')] : []),
    ...(discarded > 0 ? [`${discarded} discarded`] : []),
  ];
  return texts.length > 0 ? `, not counting ${texts.join(' and ')}` : '';
}
