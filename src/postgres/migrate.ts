/** Brings the database to the schema in `migrations/`, several processes at once harmless. */
import { fileURLToPath } from 'node:url';
import Postgrator from 'postgrator';
import postgres from 'postgres';
import { requirePostgres, verifiedAddress } from './connection.ts';

/** Any number, the same for every migration of this engine. */
const ADVISORY_LOCK = 5_702_417;

/** Throws `server_unfit` when PostgreSQL can't be reached, else what PostgreSQL or a migration says. */
export async function migrate(databaseUrl: string, log: (line: string) => void): Promise<void> {
  const sql = postgres(databaseUrl, {
    ...verifiedAddress(databaseUrl),
    max: 1,
    onnotice: () => undefined,
  });
  try {
    await requirePostgres(sql);
    await sql`SELECT pg_advisory_lock(${ADVISORY_LOCK})`;
    const postgrator = new Postgrator({
      driver: 'pg',
      migrationPattern: fileURLToPath(new URL('../../migrations/*.sql', import.meta.url)),
      schemaTable: 'schema_version',
      execQuery: async (query) => ({ rows: await sql.unsafe(query) }),
    });
    const applied = await postgrator.migrate();
    for (const migration of applied)
      log(`applied migration ${migration.version}: ${migration.name}`);
    if (applied.length === 0) log('the database is up to date');
  } finally {
    await sql.end();
  }
}
