/**
 * Replaces indexes while sales run. PostgreSQL builds an index without blocking writes only outside a transaction, so this
 * is no script in `migrations/`. Repeating it after any failure is harmless.
 */
import type { Sql } from 'postgres';

interface Replacement {
  old: string;
  name: string;
  /** As CREATE INDEX has it after ON. */
  definition: string;
}

const REPLACEMENTS: readonly Replacement[] = [
  // Buyers are told apart by a hash. Their ids are in random order, and each entry of a B-tree had the id of the sale too.
  {
    old: 'reservations_by_buyer',
    name: 'reservations_of_buyer',
    definition: 'reservations USING hash (buyer_id)',
  },
];

/** One process at a time: the caller has the lock of migrations. */
export async function replaceIndexes(sql: Sql, log: (line: string) => void): Promise<void> {
  for (const { old, name, definition } of REPLACEMENTS) {
    const found = await sql<{ name: string; isValid: boolean }[]>`
      SELECT relname AS name, indisvalid AS "isValid" FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
      WHERE relname IN (${old}, ${name}) AND pg_table_is_visible(indexrelid)`;
    const isValid = found.find((index) => index.name === name)?.isValid;
    // An earlier attempt was killed.
    if (isValid === false) await sql.unsafe(`DROP INDEX CONCURRENTLY ${name}`);
    if (isValid !== true) {
      log(`building index ${name}, which waits for the queries that have begun`);
      await sql.unsafe(`CREATE INDEX CONCURRENTLY ${name} ON ${definition}`);
    }
    if (found.some((index) => index.name === old)) {
      await sql.unsafe(`DROP INDEX CONCURRENTLY ${old}`);
      log(`replaced index ${old} by ${name}`);
    }
  }
}
