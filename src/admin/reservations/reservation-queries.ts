/**
 * Queries for reservations in PostgreSQL. A listing of one sale is ordered by position, a listing of all sales by time;
 * both are newest first and use an index.
 */
import { z } from 'zod';
import { ownItemSchema, sourceSchema, timeSchema } from '../../api/schemas.ts';
import { paymentIn } from '../../domain/merchant-note.ts';
import { REHEARSALS_LIKE } from '../../domain/rehearsal.ts';
import {
  type Item,
  RESERVATION_STATUSES,
  type ReservationStatus,
} from '../../domain/reservation.ts';
import { isPart, isWithdrawal, readDetail } from '../../domain/transition-detail.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import type { RowRange } from '../http/page.ts';

export interface ReservationFilter {
  saleId?: string | undefined;
  buyerId?: string | undefined;
  status?: ReservationStatus | undefined;
  sku?: string | undefined;
  /** Bounds of the time of reservation in ms: from inclusive, to exclusive. */
  from?: number | undefined;
  to?: number | undefined;
  /** The payment that a merchant named when it was confirmed, also if it was refunded later. */
  paymentRef?: string | undefined;
}

export const reservationRowSchema = z
  .object({
    reservationId: z.string(),
    saleId: z.string(),
    buyerId: z.string(),
    status: z.enum(RESERVATION_STATUSES),
    items: z.array(ownItemSchema),
    total: z.int().describe('Of the units that are left, in minor units of the currency.'),
    currency: z.string(),
    position: z.int(),
    source: sourceSchema,
    version: z.int().describe('1 when reserved; each transition adds 1.'),
    reservedAt: timeSchema,
    expiresAt: timeSchema,
    updatedAt: timeSchema,
    requestId: z.string(),
  })
  .meta({ id: 'ReservationRow' });

export interface ReservationRow
  extends Omit<z.infer<typeof reservationRowSchema>, 'reservedAt' | 'expiresAt' | 'updatedAt'> {
  reservedAt: Date;
  expiresAt: Date;
  updatedAt: Date;
}

const saleCursorSchema = z.tuple([z.literal('s'), z.int().min(1)]);
const timeCursorSchema = z.tuple([
  z.literal('t'),
  z.int().min(0).max(8.64e15),
  z.string().max(100),
]);

/** A position within one sale, or a time in ms and an id over all sales. */
export type ReservationCursor = z.infer<typeof saleCursorSchema | typeof timeCursorSchema>;

/** The schema of the cursors that belong to the filter's order. */
export function cursorSchemaFor(filter: ReservationFilter): z.ZodType<ReservationCursor> {
  return filter.saleId === undefined ? timeCursorSchema : saleCursorSchema;
}

export function cursorOf(row: ReservationRow, filter: ReservationFilter): ReservationCursor {
  return filter.saleId === undefined
    ? ['t', row.reservedAt.getTime(), row.reservationId]
    : ['s', row.position];
}

/** A page that is `oldest first` begins without a cursor. */
export async function listReservations(
  sql: Sql,
  filter: ReservationFilter,
  page: RowRange<ReservationCursor>,
  order: 'newest first' | 'oldest first' = 'newest first',
): Promise<ReservationRow[]> {
  const { saleId, buyerId, status, sku, from, to, paymentRef } = filter;
  const conditions = [
    saleId === undefined ? sql`sale_id NOT LIKE ${REHEARSALS_LIKE}` : sql`sale_id = ${saleId}`,
    buyerId === undefined ? undefined : sql`buyer_id = ${buyerId}`,
    status === undefined ? undefined : hasStatus(sql, status),
    sku === undefined ? undefined : sql`items @> ${sql.json([{ sku }])}`,
    from === undefined ? undefined : sql`reserved_at >= ${new Date(from)}`,
    to === undefined ? undefined : sql`reserved_at < ${new Date(to)}`,
    paymentRef === undefined ? undefined : hasPayment(sql, paymentRef),
    page.after ? afterCursor(sql, page.after) : undefined,
  ].filter((condition) => condition !== undefined);
  const where = conditions.reduce(
    (all, condition) => sql`${all} AND ${condition}`,
    sql`WHERE true`,
  );
  const descending = order === 'newest first' ? sql`DESC` : sql`ASC`;
  const ordered =
    saleId === undefined
      ? sql`ORDER BY reserved_at ${descending}, reservation_id ${descending}`
      : sql`ORDER BY position ${descending}`;
  return sql<ReservationRow[]>`
    SELECT ${columnsOf(sql)} FROM reservations ${where} ${ordered} LIMIT ${page.rowsMax}`;
}

export interface HistoryRow {
  version: number;
  event: number;
  status: ReservationStatus;
  occurredAt: Date;
  detail: string;
  requestId: string;
}

/** What PostgreSQL has of a reservation and of its sale, all at one moment. */
export interface StoredReservation {
  row: ReservationRow | undefined;
  history: HistoryRow[];
  /** Undefined: there is no such sale. `lastEntry`: the last stream entry that is written. */
  sale: { isArchived: boolean; isDraft: boolean; lastEntry: string } | undefined;
}

export async function readStored(
  sql: Sql,
  saleId: string,
  reservationId: string,
): Promise<StoredReservation> {
  return inTransaction(sql, async (tx) => {
    await tx`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`;
    const [sale] = await tx<{ isArchived: boolean; isDraft: boolean; lastEntry: string }[]>`
      SELECT archived_at IS NOT NULL AS is_archived, status = 'draft' AS is_draft,
        coalesce(entry_ms || '-' || entry_sequence, '0-0') AS last_entry
      FROM sales LEFT JOIN checkpoints USING (sale_id) WHERE sale_id = ${saleId}`;
    const [row] = await tx<ReservationRow[]>`
      SELECT ${columnsOf(tx)} FROM reservations WHERE reservation_id = ${reservationId}`;
    const history = await tx<HistoryRow[]>`
      SELECT version, event, status, occurred_at, detail, request_id FROM reservation_history
      WHERE reservation_id = ${reservationId} ORDER BY version`;
    return { row, history: [...history], sale };
  });
}

/** What merchants did to a reservation: also the payment of one that was refunded later. */
export interface Settlement {
  confirmedAt: Date | undefined;
  /** Empty: none. */
  paymentRef: string;
  /** False: it was cancelled, and its units left the sale. */
  isRestocked: boolean;
  /** Parts that were cancelled, and left the sale. */
  withdrawnParts: Item[];
}

export async function settlementsOf(
  sql: Sql,
  reservationIds: readonly string[],
): Promise<Map<string, Settlement>> {
  const events = await sql<
    { reservationId: string; status: ReservationStatus; occurredAt: Date; detail: string }[]
  >`
    SELECT reservation_id, status, occurred_at, detail FROM reservation_events
    WHERE reservation_id = ANY(${sql.array([...reservationIds])}) AND version > 1 ORDER BY version`;
  const histories = Map.groupBy(events, ({ reservationId }) => reservationId);
  return new Map(
    Array.from(histories, ([id, history]) => [
      id,
      {
        confirmedAt: history.find(({ status }) => status === 'confirmed')?.occurredAt,
        paymentRef: paymentIn(history),
        isRestocked: !history.some(
          ({ status, detail }) => status === 'cancelled' && isWithdrawal(detail),
        ),
        withdrawnParts: sumOf(
          history
            .filter((event) => isPart(event) && isWithdrawal(event.detail))
            .flatMap(({ detail }) => readDetail(detail).items ?? []),
        ),
      },
    ]),
  );
}

/** By SKU. */
function sumOf(items: readonly Item[]): Item[] {
  const units = new Map<string, number>();
  for (const { sku, quantity } of items) units.set(sku, (units.get(sku) ?? 0) + quantity);
  return Array.from(units, ([sku, quantity]) => ({ sku, quantity }));
}

/** A hold past its deadline is shown as expired, by PostgreSQL's clock, before the event of its end is a row. */
function columnsOf(sql: Sql | Transaction) {
  return sql`
    reservation_id, sale_id, buyer_id, CASE WHEN ${isOverdue(sql)} THEN 'expired' ELSE status END AS status, items,
    total, currency, position, reservations.source, version, reserved_at, expires_at, updated_at, request_id`;
}

function hasStatus(sql: Sql, status: ReservationStatus) {
  switch (status) {
    case 'reserved':
      return sql`status = 'reserved' AND NOT (${isOverdue(sql)})`;
    case 'expired':
      return sql`(status = 'expired' OR ${isOverdue(sql)})`;
    default:
      return sql`status = ${status}`;
  }
}

function isOverdue(sql: Sql | Transaction) {
  return sql`status = 'reserved' AND expires_at <= now()`;
}

/**
 * As an array, so that PostgreSQL reads these few from its index first. The detail has the payment as JSON, so the text
 * that is searched for is escaped in the same way. The LIKE is the condition of the index.
 */
function hasPayment(sql: Sql, paymentRef: string) {
  const escaped = JSON.stringify(paymentRef).slice(1, -1);
  return sql`reservation_id = ANY(ARRAY(
    SELECT reservation_id FROM reservation_events
    WHERE detail LIKE '%"paymentRef":"%' AND payment_of(detail) = ${escaped}))`;
}

function afterCursor(sql: Sql, after: ReservationCursor) {
  return after[0] === 's'
    ? sql`position < ${after[1]}`
    : sql`(reserved_at, reservation_id) < (${new Date(after[1])}, ${after[2]})`;
}
