/** Everything that Redis and PostgreSQL have of sales, counted: it shows what a command left behind. */
import type { Connections } from './connections.ts';

export interface Contents {
  keys: string[];
  /** Rows of each table that has the id of a sale. */
  rows: Record<string, number>;
}

export async function contentsOf({
  sql,
  shards,
}: Pick<Connections, 'sql' | 'shards'>): Promise<Contents> {
  const keys = await shards.of('any').client.keys('fs:{*');
  const tables = await sql<{ tableName: string }[]>`
    SELECT table_name FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name = 'sale_id' ORDER BY table_name`;
  const rows: Record<string, number> = {};
  for (const { tableName } of tables) {
    const [counted] = await sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM ${sql(tableName)}`;
    rows[tableName] = counted!.count;
  }
  return { keys: keys.toSorted(), rows };
}
