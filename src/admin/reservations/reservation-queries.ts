/**
 * Reservations as PostgreSQL has them, found by what operators ask for. Within one sale in the order of decision,
 * over all sales by time; newest first in both, each served by an index that is there anyway or cheap to keep.
 */
import { z } from 'zod';
import { timeSchema } from '../../api/schemas.ts';
import type { PricedItem, ReservationStatus } from '../../domain/reservation.ts';
import type { Sql } from '../../postgres/connection.ts';
import { decodeCursor } from '../http/page.ts';

export interface ReservationFilter {
  saleId?: string | undefined;
  buyerId?: string | undefined;
  status?: ReservationStatus | undefined;
  sku?: string | undefined;
  /** Reserved at or after, and before: ms. */
  from?: number | undefined;
  to?: number | undefined;
}

export interface ReservationRow {
  reservationId: string;
  saleId: string;
  buyerId: string;
  status: ReservationStatus;
  items: PricedItem[];
  total: number;
  currency: string;
  position: number;
  version: number;
  reservedAt: Date;
  expiresAt: Date;
  updatedAt: Date;
  requestId: string;
}

/** Where a page ended: a position within a sale, or a time and an id over all sales. */
export type ReservationCursor =
  | { within: 'sale'; position: number }
  | { within: 'all'; reservedAtMs: number; reservationId: string };

export const reservationRowSchema = z
  .object({
    reservationId: z.string(),
    saleId: z.string(),
    buyerId: z.string(),
    status: z.enum(['reserved', 'confirmed', 'cancelled', 'expired']),
    items: z.array(z.object({ sku: z.string(), quantity: z.int(), unitPrice: z.int() })),
    total: z.int().describe('Minor units.'),
    currency: z.string(),
    position: z.int(),
    version: z.int().describe('1 when reserved, one more for each transition.'),
    reservedAt: timeSchema,
    expiresAt: timeSchema,
    updatedAt: timeSchema,
    requestId: z.string(),
  })
  .meta({ id: 'ReservationRow' });

const saleCursorShape = z.tuple([z.literal('s'), z.int().min(1)]);
const timeCursorShape = z.tuple([z.literal('t'), z.int().min(0).max(8.64e15), z.string().max(100)]);

/** Undefined: not a cursor, or one of a listing in the other order. */
export function parseReservationCursor(
  cursor: string,
  filter: ReservationFilter,
): ReservationCursor | undefined {
  if (filter.saleId !== undefined) {
    const parts = decodeCursor(cursor, saleCursorShape);
    return parts && { within: 'sale', position: parts[1] };
  }
  const parts = decodeCursor(cursor, timeCursorShape);
  return parts && { within: 'all', reservedAtMs: parts[1], reservationId: parts[2] };
}

/** The cursor behind a row, in the parts that `encodeCursor` takes. */
export function reservationPosition(
  row: ReservationRow,
  filter: ReservationFilter,
): readonly (string | number)[] {
  return filter.saleId !== undefined
    ? ['s', row.position]
    : ['t', row.reservedAt.getTime(), row.reservationId];
}

export async function listReservations(
  sql: Sql,
  filter: ReservationFilter,
  page: { limit: number; after: ReservationCursor | undefined },
): Promise<ReservationRow[]> {
  const { saleId, buyerId, status, sku, from, to } = filter;
  const conditions = [
    saleId === undefined ? undefined : sql`sale_id = ${saleId}`,
    buyerId === undefined ? undefined : sql`buyer_id = ${buyerId}`,
    status === undefined ? undefined : sql`status = ${status}`,
    sku === undefined ? undefined : sql`items @> ${sql.json([{ sku }])}`,
    from === undefined ? undefined : sql`reserved_at >= ${new Date(from)}`,
    to === undefined ? undefined : sql`reserved_at < ${new Date(to)}`,
    page.after ? afterCursor(sql, page.after) : undefined,
  ].filter((condition) => condition !== undefined);
  const where = conditions.reduce(
    (all, condition) => sql`${all} AND ${condition}`,
    sql`WHERE true`,
  );
  const order =
    saleId === undefined
      ? sql`ORDER BY reserved_at DESC, reservation_id DESC`
      : sql`ORDER BY position DESC`;
  return sql<ReservationRow[]>`
    SELECT reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, reserved_at,
      expires_at, updated_at, request_id
    FROM reservations ${where} ${order} LIMIT ${page.limit}`;
}

export async function findReservation(
  sql: Sql,
  reservationId: string,
): Promise<ReservationRow | undefined> {
  const [row] = await sql<ReservationRow[]>`
    SELECT reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, reserved_at,
      expires_at, updated_at, request_id
    FROM reservations WHERE reservation_id = ${reservationId}`;
  return row;
}

export interface HistoryRow {
  version: number;
  event: number;
  status: ReservationStatus;
  occurredAt: Date;
  detail: string;
  requestId: string;
}

export async function historyOf(sql: Sql, reservationId: string): Promise<HistoryRow[]> {
  return sql<HistoryRow[]>`
    SELECT version, event, status, occurred_at, detail, request_id FROM reservation_events
    WHERE reservation_id = ${reservationId} ORDER BY version`;
}

export function showReservation(row: ReservationRow): z.infer<typeof reservationRowSchema> {
  return {
    ...row,
    reservedAt: row.reservedAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
  };
}

function afterCursor(sql: Sql, after: ReservationCursor) {
  return after.within === 'sale'
    ? sql`position < ${after.position}`
    : sql`(reserved_at, reservation_id) < (${new Date(after.reservedAtMs)}, ${after.reservationId})`;
}
