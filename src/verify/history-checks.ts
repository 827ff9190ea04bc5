/** Checks of the history in PostgreSQL: that its order and its transitions are possible, and that rows follow from it. */
import { TRANSITION_STEPS } from '../domain/reservation.ts';
import { EVENT_LINE_POSITION } from '../domain/reservation-codec.ts';
import { WITHDRAWAL } from '../domain/transition-detail.ts';
import type { Sql } from '../postgres/connection.ts';
import { isPart, namedItems } from '../postgres/named-items.ts';
import { type CheckDefinition, counted, noneOf, withHashJoins } from './check.ts';

export const HISTORY_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'rows-follow-from-their-history',
    isExact: true,
    expected:
      'id, times, deadline, total, currency and request of each row without a discarded event are what its events and its sale make them',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await withHashJoins(
        sql,
        (tx) => tx<{ reservationId: string; what: string }[]>`
        SELECT reservation_id, what FROM (
          SELECT r.reservation_id, CASE
            WHEN r.reservation_id NOT LIKE r.sale_id || '\\_' || r.position || '\\_%' THEN 'id'
            WHEN r.total <> (SELECT sum((item->>'quantity')::bigint * (item->>'unitPrice')::bigint)
              FROM jsonb_array_elements(r.items) AS item) THEN 'total'
            WHEN r.currency <> sales.currency THEN 'currency'
            WHEN r.reserved_at <> first.occurred_at THEN 'time of reservation'
            WHEN r.updated_at <> last.occurred_at THEN 'time of update'
            WHEN (r.request_id, r.traceparent) <> (first.request_id, first.traceparent) THEN 'request'
            -- A recovery restored the event from the record, which has no detail.
            WHEN first.detail NOT IN ('restored', CASE r.source WHEN 'waitlist' THEN 'waitlist' ELSE '' END)
              THEN 'source'
            WHEN r.expires_at <> CASE WHEN extension.event IS NULL THEN r.reserved_at + hold.length
              ELSE greatest(r.reserved_at + hold.length, extension.occurred_at) + hold.extension END THEN 'deadline'
            END AS what
          FROM reservations r
          JOIN sales USING (sale_id)
          CROSS JOIN LATERAL (SELECT make_interval(secs => sales.hold_seconds) AS extension,
            make_interval(secs => CASE r.source WHEN 'waitlist' THEN coalesce(sales.waitlist_hold_seconds, sales.hold_seconds)
              ELSE sales.hold_seconds END) AS length) hold
          LEFT JOIN reservation_history first
            ON first.sale_id = ${saleId} AND first.reservation_id = r.reservation_id AND first.version = 1
          LEFT JOIN reservation_history last
            ON last.sale_id = ${saleId} AND last.reservation_id = r.reservation_id AND last.version = r.version
          LEFT JOIN reservation_events extension
            ON extension.sale_id = ${saleId} AND extension.reservation_id = r.reservation_id
              AND extension.status = 'reserved' AND extension.version > 1 AND NOT ${isPart(tx, 'extension')}
          WHERE r.sale_id = ${saleId} AND NOT EXISTS (${discardedOf(sql, saleId)})) compared
        WHERE what IS NOT NULL LIMIT 20`,
      );
      const [discarded] = await sql<{ rows: number }[]>`
        SELECT count(*) AS rows FROM reservations r
        WHERE sale_id = ${saleId} AND EXISTS (${discardedOf(sql, saleId)})`;
      const { rows } = discarded!;
      return noneOf(
        wrong.map(({ reservationId, what }) => `${reservationId}: ${what}`),
        `no violation${rows > 0 ? `; not compared: ${counted(rows, 'row')} whose events operators discarded` : ''}`,
      );
    },
  },
  {
    name: 'each-transition-is-allowed',
    isExact: true,
    expected:
      'the events of each reservation, in the order of their numbers, are allowed transitions',
    find: async ({ servers: { sql }, saleId }) => {
      // A cancelled part changes no letter: the event before it and the one after it are a transition.
      const wrong = await sql<{ event: number; reservationId: string }[]>`
        WITH history AS (
          SELECT *, ${isPart(sql, 'e')} AS is_part, CASE WHEN status = 'reserved' THEN CASE version WHEN 1 THEN 'R' ELSE 'P' END
              WHEN status = 'confirmed' THEN 'C' WHEN status = 'cancelled' THEN 'X'
              WHEN status = 'expired' THEN 'E' ELSE '?' END AS letter
          FROM reservation_history e WHERE sale_id = ${saleId}),
        steps AS (
          SELECT event, reservation_id, version, letter, is_part, status, lag(status) OVER earlier AS status_before,
            lag(version) OVER earlier AS version_before, lag(event) OVER earlier AS event_before,
            version - count(*) FILTER (WHERE is_part) OVER earlier AS place
          FROM history WINDOW earlier AS (PARTITION BY reservation_id ORDER BY version)),
        transitions AS (
          SELECT event, reservation_id, letter, place, lag(letter) OVER earlier AS before, lag(place) OVER earlier AS place_before
          FROM steps WHERE NOT is_part WINDOW earlier AS (PARTITION BY reservation_id ORDER BY version))
        SELECT event, reservation_id FROM steps
        WHERE NOT starts_with(reservation_id, ${`${saleId}_`}) OR event <= event_before OR version = version_before
          OR (version = 1 AND letter <> 'R')
          OR (is_part AND status NOT IN ('reserved', 'confirmed'))
          OR (is_part AND version = version_before + 1 AND status <> status_before)
        UNION
        SELECT event, reservation_id FROM transitions
        WHERE place = place_before + 1 AND before || letter <> ALL(${TRANSITION_STEPS}::text[])
        LIMIT 20`;
      return noneOf(wrong.map(({ event, reservationId }) => `event ${event} of ${reservationId}`));
    },
  },
  {
    name: 'positions-follow-the-events',
    isExact: true,
    expected: 'a later event of a new reservation has a higher position',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ event: number }[]>`
        SELECT event FROM (
          SELECT event, position, lag(position) OVER (ORDER BY event) AS before FROM (
            SELECT event, split_part(reservation_id, '_', 2)::bigint AS position FROM reservation_history
            WHERE sale_id = ${saleId} AND version = 1) decided) compared
        WHERE position <= before LIMIT 20`;
      return noneOf(wrong.map(({ event }) => `event ${event}`));
    },
  },
  {
    name: 'withdrawn-units-are-in-the-ledger',
    isExact: true,
    expected: 'the stock ledger has the units of each cancellation without restock, and no others',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ event: number; sku: string }[]>`
        WITH withdrawals AS (
          SELECT * FROM reservation_events
          WHERE sale_id = ${saleId} AND starts_with(detail, '{') AND strpos(detail, ${WITHDRAWAL}) > 0),
        withdrawn AS (
          SELECT event, item.sku, -item.quantity AS delta, occurred_at
          FROM withdrawals w JOIN reservations USING (reservation_id),
            jsonb_to_recordset(items) AS item(sku text, quantity bigint)
          WHERE NOT ${isPart(sql, 'w')} AND item.quantity > 0
          UNION ALL
          SELECT event, item.sku, -item.quantity, occurred_at
          FROM withdrawals w, ${namedItems(sql, 'w')} AS item(sku text, quantity bigint) WHERE ${isPart(sql, 'w')})
        SELECT event, sku FROM withdrawn FULL JOIN (
          SELECT event, sku, delta, created_at, outcome FROM stock_ledger
          WHERE sale_id = ${saleId} AND event IS NOT NULL) ledger USING (event, sku)
        WHERE (withdrawn.delta, occurred_at, 'applied') IS DISTINCT FROM (ledger.delta, created_at, outcome)
        ORDER BY 1, 2 LIMIT 20`;
      return noneOf(wrong.map(({ event, sku }) => `event ${event}, ${sku}`));
    },
  },
  {
    name: 'cancelled-parts-are-in-the-rows',
    isExact: true,
    expected: 'each item of a row has as many units cancelled in parts as its history',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ reservationId: string; sku: string }[]>`
        WITH parts AS (
          SELECT reservation_id, item.sku, sum(item.quantity)::bigint AS units
          FROM reservation_events e, ${namedItems(sql, 'e')} AS item(sku text, quantity bigint)
          WHERE sale_id = ${saleId} AND ${isPart(sql, 'e')} GROUP BY 1, 2)
        SELECT reservation_id, sku FROM parts FULL JOIN (
          SELECT reservation_id, item.sku, item.cancelled AS units
          FROM reservations, jsonb_to_recordset(items) AS item(sku text, cancelled bigint)
          WHERE sale_id = ${saleId} AND item.cancelled IS NOT NULL) rows USING (reservation_id, sku)
        JOIN reservations r USING (reservation_id)
        WHERE parts.units IS DISTINCT FROM rows.units AND NOT EXISTS (${discardedOf(sql, saleId)})
        ORDER BY 1, 2 LIMIT 20`;
      return noneOf(wrong.map(({ reservationId, sku }) => `${reservationId}: ${sku}`));
    },
  },
  {
    name: 'prices-were-offered',
    isExact: true,
    expected: 'each unit price is one that an operation gave its SKU',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ sku: string; price: number; reservationId: string }[]>`
        SELECT item->>'sku' AS sku, (item->>'unitPrice')::bigint AS price, min(reservation_id) AS reservation_id
        FROM reservations, jsonb_array_elements(items) AS item WHERE sale_id = ${saleId}
        GROUP BY 1, 2 HAVING (item->>'sku', (item->>'unitPrice')::bigint) NOT IN (
          SELECT sku->>'sku', (sku->>'price')::bigint
          FROM sale_operations, jsonb_array_elements(definition->'skus') AS sku WHERE sale_id = ${saleId})
        LIMIT 20`;
      return noneOf(
        wrong.map(({ sku, price, reservationId }) => `${reservationId}: ${sku} for ${price}`),
      );
    },
  },
];

/** The discarded events of a reservation `r`, without which its row cannot be derived. */
function discardedOf(sql: Sql, saleId: string) {
  return sql`SELECT FROM dead_letters letter
    WHERE letter.sale_id = ${saleId} AND letter.discard_reason IS NOT NULL
      AND substring(letter.payload FROM ${EVENT_LINE_POSITION})::bigint = r.position`;
}
