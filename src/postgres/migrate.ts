/**
 * Migrates the database to the schema in `migrations/`, in one transaction, and then replaces indexes. Concurrent and
 * killed migrations are harmless.
 *
 * A change of a table waits for all queries that use the table, and queries that begin meanwhile wait for the change.
 * Therefore a migration waits only for a moment, and tries again later.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Postgrator from 'postgrator';
import postgres from 'postgres';
import { requirePostgres, verifiedAddress } from './connection.ts';
import { replaceIndexes } from './replace-indexes.ts';

/** Any numbers, the same for every migration of this engine. */
const ADVISORY_LOCK = 5_702_417;
const INDEX_LOCK = 5_702_418;

const LOCK_WAIT_MS = 1_000;
const LOCK_PAUSE_MS = 2_000;
/** For some minutes. A query that takes longer must end first. */
const LOCK_ATTEMPTS = 100;
/** PostgreSQL did not get the lock in time, or ended a deadlock. */
const LOCK_ERRORS: readonly string[] = ['55P03', '40P01'];

/** Throws `server_unfit` if PostgreSQL is not available, otherwise the error of PostgreSQL or of a migration. */
export async function migrate(databaseUrl: string, log: (line: string) => void): Promise<void> {
  const ssl = verifiedAddress(databaseUrl);
  const sql = postgres(databaseUrl, { ...ssl, max: 1, onnotice: () => undefined });
  try {
    await requirePostgres(sql);
    const applied = await retryLocks(log, () => migrateOnce(sql));
    for (const migration of applied)
      log(`applied migration ${migration.version}: ${migration.name}`);
    if (applied.length === 0) log('the database is up to date');
    await withIndexLock(sql, async () => {
      // The lock has a connection of its own.
      const builder = postgres(databaseUrl, { ...ssl, max: 1, onnotice: () => undefined });
      try {
        await replaceIndexes(builder, log);
      } finally {
        await builder.end();
      }
    });
  } finally {
    await sql.end();
  }
}

/**
 * A build waits for every query that began before it, so another migration must not wait for the lock in a query: each
 * would wait for the other.
 */
async function withIndexLock(sql: postgres.Sql, work: () => Promise<void>): Promise<void> {
  for (;;) {
    const isDone = await sql.begin(async (transaction) => {
      // As a simple query, because a prepared one keeps its snapshot until the next one, and a build waits for it.
      const [row] = await transaction.unsafe<{ isLocked: boolean }[]>(
        `SELECT pg_try_advisory_xact_lock(${INDEX_LOCK}) AS "isLocked"`,
      );
      if (row!.isLocked) await work();
      return row!.isLocked;
    });
    if (isDone) return;
    await sleep(LOCK_PAUSE_MS / 10);
  }
}

/** One transaction: a script and its row in `schema_version` are two statements. */
function migrateOnce(sql: postgres.Sql) {
  return sql.begin(async (transaction) => {
    await transaction`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`;
    await transaction.unsafe(`SET LOCAL lock_timeout = ${LOCK_WAIT_MS}`);
    const postgrator = new Postgrator({
      driver: 'pg',
      migrationPattern: fileURLToPath(new URL('../../migrations/*.sql', import.meta.url)),
      schemaTable: 'schema_version',
      execQuery: async (query) => ({ rows: await transaction.unsafe(query) }),
    });
    return postgrator.migrate();
  });
}

async function retryLocks<T>(log: (line: string) => void, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof postgres.PostgresError ? error.code : '';
      if (!LOCK_ERRORS.includes(code) || attempt === LOCK_ATTEMPTS) throw error;
      if (attempt === 1) log('waiting for queries that use the tables to end');
      await sleep(LOCK_PAUSE_MS);
    }
  }
}
