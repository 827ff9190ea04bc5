/**
 * A sale over time, from PostgreSQL: when reservations were decided and when they became rows, and what the stock was used
 * for. PostgreSQL adds up each interval, so the result is small however large the sale is.
 */

import type { Sql } from '../../../postgres/connection.ts';
import { isPart, namedItems } from '../../../postgres/named-items.ts';
import { stepFor, type TimeAxis } from './chart.ts';

const INTERVALS_MAX = 300;

export interface Timelines {
  decisions: { axis: TimeAxis; decided: number[]; durable: number[] };
  /** Units at the end of each interval. */
  stock: { axis: TimeAxis; held: number[]; confirmed: number[]; remaining: number[] };
  /** From the decision, by the clock of Redis, until the row, by the clock of PostgreSQL. */
  durableAfterMs: { p50: number; p99: number; max: number };
}

interface Bounds {
  first: Date | null;
  lastDecided: Date;
  lastDurable: Date;
  lastEvent: Date;
}

/** Undefined: nothing was reserved. */
export async function readTimelines(sql: Sql, saleId: string): Promise<Timelines | undefined> {
  const [bounds] = await sql<[Bounds]>`
    SELECT min(reserved_at) AS first, max(reserved_at) AS last_decided, max(persisted_at) AS last_durable,
      greatest(max(reserved_at), (SELECT max(occurred_at) FROM reservation_events WHERE sale_id = ${saleId})) AS last_event
    FROM reservations WHERE sale_id = ${saleId}`;
  const { first, lastDecided, lastDurable, lastEvent } = bounds;
  if (!first) return undefined;
  return {
    decisions: await readDecisions(sql, saleId, axisOf(first, latest(lastDecided, lastDurable))),
    stock: await readStock(sql, saleId, axisOf(first, lastEvent)),
    durableAfterMs: await readDurableAfter(sql, saleId),
  };
}

interface Span {
  axis: TimeAxis;
  intervals: number;
}

function axisOf(first: Date, last: Date): Span {
  const stepMs = stepFor(last.getTime() - first.getTime(), INTERVALS_MAX - 1);
  const startMs = Math.floor(first.getTime() / stepMs) * stepMs;
  const intervals = Math.floor((last.getTime() - startMs) / stepMs) + 1;
  return { axis: { startMs, stepMs }, intervals };
}

function latest(one: Date, other: Date): Date {
  return one > other ? one : other;
}

/** The number of the interval of a time; what was before the first one counts to it. */
function intervalOf(sql: Sql, time: ReturnType<Sql>, { startMs, stepMs }: TimeAxis) {
  return sql`greatest(0, floor((extract(epoch FROM ${time}) * 1000 - ${startMs}::float8) / ${stepMs}::float8))::int`;
}

async function readDecisions(
  sql: Sql,
  saleId: string,
  { axis, intervals }: Span,
): Promise<Timelines['decisions']> {
  const rows = await sql<{ interval: number; decided: number; durable: number }[]>`
    SELECT interval, sum(decided)::bigint AS decided, sum(durable)::bigint AS durable FROM (
      SELECT ${intervalOf(sql, sql`reserved_at`, axis)} AS interval, 1 AS decided, 0 AS durable
      FROM reservations WHERE sale_id = ${saleId}
      UNION ALL
      SELECT ${intervalOf(sql, sql`persisted_at`, axis)}, 0, 1 FROM reservations WHERE sale_id = ${saleId}
    ) counted GROUP BY interval`;
  return {
    axis,
    decided: spread(rows, intervals, ({ decided }) => decided),
    durable: spread(rows, intervals, ({ durable }) => durable),
  };
}

/**
 * An event moves the units that its reservation has then. Those are all that were reserved, without the parts that were
 * cancelled up to then.
 */
async function readStock(
  sql: Sql,
  saleId: string,
  { axis, intervals }: Span,
): Promise<Timelines['stock']> {
  const rows = await sql<{ interval: number; held: number; confirmed: number; loaded: number }[]>`
    WITH events AS (
      SELECT e.reservation_id, e.version, e.occurred_at, e.status,
        lag(e.status, 1, '') OVER earlier AS before,
        CASE WHEN ${isPart(sql, 'e')} THEN
          (SELECT sum(quantity) FROM ${namedItems(sql, 'e')} AS item(sku text, quantity bigint)) ELSE 0 END AS part
      FROM reservation_history e WHERE sale_id = ${saleId}
      WINDOW earlier AS (PARTITION BY e.reservation_id ORDER BY e.version)
    ), moves AS (
      SELECT occurred_at, status, before, part, units - sum(part) OVER (PARTITION BY reservation_id ORDER BY version) AS left_units
      FROM events JOIN (
        SELECT reservation_id, (SELECT sum(quantity + coalesce(cancelled, 0))
          FROM jsonb_to_recordset(items) AS item(quantity bigint, cancelled bigint)) AS units
        FROM reservations WHERE sale_id = ${saleId}
      ) reserved USING (reservation_id)
    ), changes AS (
      SELECT occurred_at AS at, 0 AS loaded,
        CASE WHEN status = 'reserved' THEN left_units ELSE 0 END
          - CASE WHEN before = 'reserved' THEN left_units + part ELSE 0 END AS held,
        CASE WHEN status = 'confirmed' THEN left_units ELSE 0 END
          - CASE WHEN before = 'confirmed' THEN left_units + part ELSE 0 END AS confirmed
      FROM moves
      UNION ALL
      SELECT created_at, delta, 0, 0 FROM stock_ledger WHERE sale_id = ${saleId} AND outcome = 'applied'
    )
    SELECT least(${intervals - 1}, ${intervalOf(sql, sql`at`, axis)})::int AS interval, sum(loaded)::bigint AS loaded,
      sum(held)::bigint AS held, sum(confirmed)::bigint AS confirmed
    FROM changes GROUP BY 1`;
  const held = sums(spread(rows, intervals, (row) => row.held));
  const confirmed = sums(spread(rows, intervals, (row) => row.confirmed));
  const loaded = sums(spread(rows, intervals, (row) => row.loaded));
  const remaining = loaded.map((units, index) => units - held[index]! - confirmed[index]!);
  return { axis, held, confirmed, remaining };
}

async function readDurableAfter(sql: Sql, saleId: string): Promise<Timelines['durableAfterMs']> {
  const [row] = await sql<[{ p50: number; p99: number; max: number }]>`
    SELECT (q)[1] AS p50, (q)[2] AS p99, (q)[3] AS max FROM (
      SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
        ORDER BY extract(epoch FROM persisted_at - reserved_at)::float8 * 1000) AS q
      FROM reservations WHERE sale_id = ${saleId}) quantiles`;
  const rounded = (ms: number) => Math.round(Math.max(0, ms));
  return { p50: rounded(row.p50), p99: rounded(row.p99), max: rounded(row.max) };
}

function spread<Row extends { interval: number }>(
  rows: readonly Row[],
  intervals: number,
  countOf: (row: Row) => number,
): number[] {
  const values = Array.from({ length: intervals }, () => 0);
  for (const row of rows) if (row.interval < intervals) values[row.interval]! += countOf(row);
  return values;
}

function sums(changes: readonly number[]): number[] {
  let sum = 0;
  return changes.map((change) => {
    sum += change;
    return sum;
  });
}
