/**
 * A backup of a database within that database, and its restore, as `pg_restore` does it into the same database. Nothing
 * else of the database changes, so it is still the one that belongs to its Redis.
 */
import type { Sql } from '../../src/postgres/connection.ts';

/** Copies all rows at one moment. Returns the step that puts them back; it can be repeated after a failure. */
export async function backUp(sql: Sql): Promise<() => Promise<void>> {
  const found = await sql<{ name: string }[]>`
    SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schemaversion'
    ORDER BY tablename`;
  const tables = found.map(({ name }) => name);
  await sql.begin('ISOLATION LEVEL REPEATABLE READ', async (tx) => {
    await tx`DROP SCHEMA IF EXISTS backup CASCADE`;
    await tx`CREATE SCHEMA backup`;
    for (const table of tables) {
      await tx`CREATE TABLE backup.${tx(table)} AS TABLE public.${tx(table)}`;
    }
  });
  return () => restore(sql, tables);
}

async function restore(sql: Sql, tables: readonly string[]): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`;
    // Without triggers, so also without foreign keys, as pg_restore does it.
    await tx`SET LOCAL session_replication_role = replica`;
    await tx`LOCK TABLE ${tables.map((table, index) => tx`${index === 0 ? tx`` : tx`, `}${tx(table)}`)}`;
    for (const table of tables) {
      await tx`DELETE FROM ${tx(table)}`;
      const columns = await tx<{ name: string }[]>`
        SELECT column_name AS name FROM information_schema.columns
        WHERE table_name = ${table} AND table_schema = 'public' AND is_generated = 'NEVER'`;
      const names = tx(columns.map(({ name }) => name));
      await tx`
        INSERT INTO ${tx(table)} (${names}) OVERRIDING SYSTEM VALUE
        SELECT ${names} FROM backup.${tx(table)}`;
    }
  });
}
