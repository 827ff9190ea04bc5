/**
 * Reservations as CSV (RFC 4180), streamed page by page as fast as the client reads. Pages use a keyset, so a slow
 * client holds neither a connection nor a snapshot of PostgreSQL.
 */
import { Readable } from 'node:stream';
import type { Sql } from '../../postgres/connection.ts';
import {
  cursorOf,
  listReservations,
  type ReservationFilter,
  type ReservationRow,
} from './reservation-queries.ts';

const ROWS_PER_PAGE = 1_000;

const COLUMNS: Record<string, (row: ReservationRow) => string | number> = {
  reservationId: (row) => row.reservationId,
  saleId: (row) => row.saleId,
  buyerId: (row) => row.buyerId,
  status: (row) => row.status,
  items: (row) => row.items.map(({ sku, quantity }) => `${sku}*${quantity}`).join(' '),
  total: (row) => row.total,
  currency: (row) => row.currency,
  position: (row) => row.position,
  version: (row) => row.version,
  reservedAt: (row) => row.reservedAt.toISOString(),
  expiresAt: (row) => row.expiresAt.toISOString(),
  updatedAt: (row) => row.updatedAt.toISOString(),
  requestId: (row) => row.requestId,
};

/** Rejects if the first page cannot be read: only then can the response still be a problem. */
export async function streamCsv(sql: Sql, filter: ReservationFilter): Promise<Readable> {
  const first = await listReservations(sql, filter, { rowsMax: ROWS_PER_PAGE, after: undefined });
  return Readable.from(csvPages(sql, filter, first));
}

async function* csvPages(
  sql: Sql,
  filter: ReservationFilter,
  first: ReservationRow[],
): AsyncGenerator<string> {
  yield csvLine(Object.keys(COLUMNS));
  for (let rows = first; rows.length > 0; ) {
    yield rows.map((row) => csvLine(Object.values(COLUMNS).map((cell) => cell(row)))).join('');
    const last = rows.at(-1);
    if (rows.length < ROWS_PER_PAGE || !last) return;
    const after = cursorOf(last, filter);
    rows = await listReservations(sql, filter, { rowsMax: ROWS_PER_PAGE, after });
  }
}

function csvLine(cells: readonly (string | number)[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

/**
 * The positions at which a spreadsheet would start a formula and run text of a buyer. These are the start of the cell,
 * and the end of any character that is a separator in some locale.
 */
const FORMULA_START = /(^|[,;|\t\r\n]["' ]*)(?=[=+\-@\t\r])/g;

export function csvCell(value: string | number): string {
  if (typeof value === 'number') return String(value);
  const text = value.replaceAll(FORMULA_START, "$1'");
  return /[",;|\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
