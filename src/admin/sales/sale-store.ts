/** Sales in PostgreSQL: the definitions that operators wrote. They can be one operation or more ahead of Redis. */
import { REHEARSALS_LIKE } from '../../domain/rehearsal.ts';
import type { SaleDefinition, SaleStatus, SkuDefinition } from '../../domain/sale.ts';
import type { Sql, Transaction } from '../../postgres/connection.ts';
import { skusOfSale } from '../../postgres/sale-definition.ts';
import type { RowRange } from '../http/page.ts';

export interface StoredSale extends SaleDefinition {
  lastOperation: number;
  /** Null: Redis has the sale. */
  archivedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
  /** `created_at` with microseconds: a cursor needs them, and a Date has only milliseconds. */
  createdAtExact: string;
  /** PostgreSQL's clock when the row was read, ms. */
  nowMs: number;
}

interface SaleRow {
  saleId: string;
  name: string;
  currency: string;
  status: SaleStatus;
  startsAt: Date | null;
  endsAt: Date | null;
  perBuyerLimit: number;
  holdSeconds: number;
  waitlistHoldSeconds: number | null;
  lastOperation: number;
  archivedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
  createdAtExact: string;
  now: Date;
  skus: SkuDefinition[] | null;
}

export async function findSale(
  sql: Sql | Transaction,
  saleId: string,
): Promise<StoredSale | undefined> {
  const [row] = await selectSales(sql, sql`WHERE sale_id = ${saleId}`);
  return row;
}

/** Newest first. */
export async function listSales(
  sql: Sql,
  page: RowRange<readonly [createdAt: string, saleId: string]>,
  { isArchived, isRehearsal }: { isArchived: boolean | undefined; isRehearsal: boolean },
): Promise<StoredSale[]> {
  const after = page.after
    ? sql`AND (created_at, sale_id) < (${page.after[0]}::text::timestamptz, ${page.after[1]})`
    : sql``;
  const archived =
    isArchived === undefined
      ? sql`true`
      : sql`archived_at IS ${isArchived ? sql`NOT NULL` : sql`NULL`}`;
  return selectSales(
    sql,
    sql`WHERE ${archived} AND sale_id ${isRehearsal ? sql`LIKE` : sql`NOT LIKE`} ${REHEARSALS_LIKE} ${after} ORDER BY created_at DESC, sale_id DESC LIMIT ${page.rowsMax}`,
  );
}

/**
 * Locks the sale against other changes until the transaction ends. It reads in a second statement because a statement
 * that waits for the lock would still see the SKUs from before the wait.
 */
export async function lockSale(tx: Transaction, saleId: string): Promise<StoredSale | undefined> {
  await tx`SELECT FROM sales WHERE sale_id = ${saleId} FOR NO KEY UPDATE`;
  return findSale(tx, saleId);
}

/**
 * Returns false if a sale with that id exists. The timeline distinguishes the sale from a deleted one with the same id,
 * which a Redis server may still have.
 */
export async function insertSale(tx: Transaction, definition: SaleDefinition): Promise<boolean> {
  const inserted = await tx`
    INSERT INTO sales (sale_id, name, currency, status, starts_at, ends_at, per_buyer_limit, hold_seconds,
      waitlist_hold_seconds, timeline)
    VALUES (${definition.saleId}, ${definition.name}, ${definition.currency}, ${definition.status},
      ${timeOf(definition.startsAt)}, ${timeOf(definition.endsAt)}, ${definition.perBuyerLimit},
      ${definition.holdSeconds}, ${definition.waitlistHoldSeconds ?? null}, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    ON CONFLICT DO NOTHING
    RETURNING sale_id`;
  return inserted.length === 1;
}

/** Units of a SKU that are loaded, or will be once pending operations are applied. */
export async function loadedUnits(tx: Transaction, saleId: string, sku: string): Promise<number> {
  const [row] = await tx<{ units: number }[]>`
    SELECT coalesce(sum(delta), 0)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND sku = ${sku} AND outcome IN ('pending', 'applied')`;
  return row!.units;
}

async function selectSales(
  sql: Sql | Transaction,
  which: ReturnType<Sql | Transaction>,
): Promise<StoredSale[]> {
  const rows = await sql<SaleRow[]>`
    SELECT sale_id, name, currency, status, starts_at, ends_at, per_buyer_limit, hold_seconds,
      waitlist_hold_seconds, last_operation,
      archived_at, created_at, (created_at AT TIME ZONE 'UTC')::text || '+00' AS created_at_exact, updated_at, clock_timestamp() AS now,
      ${skusOfSale(sql)} AS skus
    FROM sales ${which}`;
  return rows.map(({ now, skus, waitlistHoldSeconds, ...row }) => ({
    ...row,
    ...(waitlistHoldSeconds !== null && { waitlistHoldSeconds }),
    startsAt: row.startsAt?.getTime() ?? null,
    endsAt: row.endsAt?.getTime() ?? null,
    skus: skus ?? [],
    nowMs: now.getTime(),
  }));
}

function timeOf(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
