/**
 * Migrates the database to the schema in `migrations/`, in one transaction. Concurrent and killed migrations are
 * harmless.
 */
import { fileURLToPath } from 'node:url';
import Postgrator from 'postgrator';
import postgres from 'postgres';
import { requirePostgres, verifiedAddress } from './connection.ts';

/** Any number, the same for every migration of this engine. */
const ADVISORY_LOCK = 5_702_417;

/** Throws `server_unfit` if PostgreSQL is not available, otherwise the error of PostgreSQL or of a migration. */
export async function migrate(databaseUrl: string, log: (line: string) => void): Promise<void> {
  const ssl = verifiedAddress(databaseUrl);
  const sql = postgres(databaseUrl, { ...ssl, max: 1, onnotice: () => undefined });
  try {
    await requirePostgres(sql);
    // One transaction: a script and its row in `schema_version` are two statements.
    const applied = await sql.begin(async (transaction) => {
      await transaction`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`;
      const postgrator = new Postgrator({
        driver: 'pg',
        migrationPattern: fileURLToPath(new URL('../../migrations/*.sql', import.meta.url)),
        schemaTable: 'schema_version',
        execQuery: async (query) => ({ rows: await transaction.unsafe(query) }),
      });
      return postgrator.migrate();
    });
    for (const migration of applied)
      log(`applied migration ${migration.version}: ${migration.name}`);
    if (applied.length === 0) log('the database is up to date');
  } finally {
    await sql.end();
  }
}
