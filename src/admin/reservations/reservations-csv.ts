/**
 * Reservations as CSV (RFC 4180), streamed page by page as fast as the client reads. Pages use a keyset, so a slow
 * client holds neither a connection nor a snapshot of PostgreSQL.
 */
import { Readable } from 'node:stream';
import type { Item } from '../../domain/reservation.ts';
import type { Sql } from '../../postgres/connection.ts';
import {
  cursorOf,
  listReservations,
  type ReservationCursor,
  type ReservationFilter,
  type ReservationRow,
  type Settlement,
  settlementsOf,
} from './reservation-queries.ts';

const ROWS_PER_PAGE = 1_000;

type ExportedRow = ReservationRow & Partial<Settlement>;
type Cell = string | number;

/** New columns are added at the end: programs may read cells by their place. */
const COLUMNS: Record<string, (row: ExportedRow) => Cell> = {
  reservationId: (row) => row.reservationId,
  saleId: (row) => row.saleId,
  buyerId: (row) => row.buyerId,
  status: (row) => row.status,
  items: (row) => listOf(row.items),
  total: (row) => row.total,
  currency: (row) => row.currency,
  position: (row) => row.position,
  version: (row) => row.version,
  reservedAt: (row) => row.reservedAt.toISOString(),
  expiresAt: (row) => row.expiresAt.toISOString(),
  updatedAt: (row) => row.updatedAt.toISOString(),
  requestId: (row) => row.requestId,
  unitPrices: (row) => row.items.map(({ unitPrice }) => unitPrice).join(' '),
  paymentRef: (row) => row.paymentRef ?? '',
  confirmedAt: (row) => row.confirmedAt?.toISOString() ?? '',
  /** Of reservations that have ended: whether their units are on sale again. */
  restocked: (row) =>
    row.status === 'cancelled' || row.status === 'expired' ? String(row.isRestocked ?? true) : '',
  source: (row) => row.source,
  cancelledItems: (row) =>
    listOf(
      row.items.flatMap(({ sku, cancelled }) => (cancelled ? { sku, quantity: cancelled } : [])),
    ),
  withdrawnItems: (row) => listOf(row.withdrawnParts ?? []),
};

function listOf(items: readonly Item[]): string {
  return items.map(({ sku, quantity }) => `${sku}*${quantity}`).join(' ');
}

/** `raw`: cells are as they are stored, for programs. Otherwise they are safe to open in a spreadsheet. */
export type CellStyle = 'safe' | 'raw';

/** Rejects if the first page cannot be read: only then can the response still be a problem. */
export async function streamCsv(
  sql: Sql,
  filter: ReservationFilter,
  style: CellStyle,
): Promise<Readable> {
  const first = await readPage(sql, filter, undefined);
  return Readable.from(csvPages(sql, filter, style, first));
}

async function* csvPages(
  sql: Sql,
  filter: ReservationFilter,
  style: CellStyle,
  first: ExportedRow[],
): AsyncGenerator<string> {
  yield csvLine(Object.keys(COLUMNS), style);
  for (let rows = first; rows.length > 0; ) {
    yield rows
      .map((row) =>
        csvLine(
          Object.values(COLUMNS).map((cell) => cell(row)),
          style,
        ),
      )
      .join('');
    const last = rows.at(-1);
    if (rows.length < ROWS_PER_PAGE || !last) return;
    rows = await readPage(sql, filter, cursorOf(last, filter));
  }
}

async function readPage(
  sql: Sql,
  filter: ReservationFilter,
  after: ReservationCursor | undefined,
): Promise<ExportedRow[]> {
  const rows = await listReservations(sql, filter, { rowsMax: ROWS_PER_PAGE, after });
  const changed = rows.filter(({ version }) => version > 1);
  if (changed.length === 0) return rows;
  const settlements = await settlementsOf(
    sql,
    changed.map(({ reservationId }) => reservationId),
  );
  return rows.map((row) => ({ ...row, ...settlements.get(row.reservationId) }));
}

function csvLine(cells: readonly Cell[], style: CellStyle): string {
  return `${cells.map((cell) => csvCell(cell, style)).join(',')}\r\n`;
}

/**
 * The positions at which a spreadsheet would start a formula and run text of a buyer. These are the start of the cell,
 * and the end of any character that is a separator in some locale.
 */
const FORMULA_START = /(^|[,;|\t\r\n]["' ]*)(?=[=+\-@\t\r])/g;

export function csvCell(value: Cell, style: CellStyle = 'safe'): string {
  if (typeof value === 'number') return String(value);
  const text = style === 'raw' ? value : value.replaceAll(FORMULA_START, "$1'");
  return /[",;|\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
