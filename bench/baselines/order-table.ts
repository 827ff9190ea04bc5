/** Where a shop keeps its orders: a table with the columns and indexes that the engine's reservations have. */
import type { Sql } from 'postgres';

/** More wait for each other's commits on the disk anyway. */
export const POOL_SIZE = 32;

export async function orderTable(sql: Sql, name: string): Promise<void> {
  await sql`CREATE TABLE IF NOT EXISTS ${sql(name)} (LIKE reservations INCLUDING ALL)`;
}
