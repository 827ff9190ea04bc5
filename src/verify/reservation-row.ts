/** A reservation as both servers hold it, and the comparison of the two. */
import type { Reservation, ReservationStatus } from '../domain/reservation.ts';
import {
  formatItems,
  formatPrices,
  letterIn,
  letterOf,
  parseRecord,
} from '../domain/reservation-codec.ts';
import type { Sql } from '../postgres/connection.ts';
import { isExtended } from '../postgres/named-items.ts';

/** A record in Redis. */
export interface RedisRecord {
  reservation: Reservation;
  letter: string;
}

export interface Row extends Omit<Reservation, 'status' | 'reservedAt' | 'expiresAt'> {
  status: ReservationStatus;
  isExtended: boolean;
  reservedAt: Date;
  expiresAt: Date;
}

/** Throws a Fault for a text that is no record. */
export function recordsIn(
  text: string,
  sale: Pick<Reservation, 'saleId' | 'currency'>,
  buyerId: string,
): RedisRecord[] {
  if (text === '') return [];
  return text.split('\n').map((record) => ({
    reservation: parseRecord(record, sale, buyerId),
    letter: letterIn(record),
  }));
}

export async function rowsOf(
  sql: Sql,
  reservationIds: readonly string[],
): Promise<Map<string, Row>> {
  const rows = await sql<Row[]>`
    SELECT reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, idempotency_key,
      reserved_at, expires_at, ${isExtended(sql)} AS is_extended
    FROM reservations WHERE reservation_id = ANY(${[...reservationIds]}::text[])`;
  return new Map(rows.map((row) => [row.reservationId, row]));
}

/** What differs between a record and the row of the same version; undefined: nothing. */
export function differenceOf({ reservation, letter }: RedisRecord, row: Row): string | undefined {
  const pairs = {
    sale: [reservation.saleId, row.saleId],
    buyer: [reservation.buyerId, row.buyerId],
    status: [reservation.status, row.status],
    'status letter': [letter, letterOf(row.status, row.isExtended)],
    position: [reservation.position, row.position],
    deadline: [reservation.expiresAt, row.expiresAt.getTime()],
    'time of reservation': [reservation.reservedAt, row.reservedAt.getTime()],
    items: [formatItems(reservation.items), formatItems(row.items)],
    prices: [formatPrices(reservation.items), formatPrices(row.items)],
    total: [reservation.total, row.total],
    currency: [reservation.currency, row.currency],
    key: [reservation.idempotencyKey, row.idempotencyKey],
  };
  for (const [what, [inRedis, inPostgres]] of Object.entries(pairs)) {
    if (inRedis !== inPostgres) {
      return `${reservation.reservationId}: ${what} ${inRedis} in Redis, ${inPostgres} in PostgreSQL`;
    }
  }
  return undefined;
}
