/**
 * The identity of a database: what tells it from every other one and from its copies. It has three parts:
 *
 *   the random id of migration 10       another one in each database that was migrated by itself
 *   the system identifier of the server another one in each server that initdb made, so also after a dump is restored there
 *   the oid of the database             another one in each copy on the same server
 *
 * A standby that is promoted keeps all three: it is the same database. So does a copy of the server's files.
 */
import type { Sql } from './connection.ts';

export interface DatabaseIdentity {
  identity: string;
  /** Another value than `identity`: the database is a copy. Null: no Redis ever belonged to it. */
  pairedAs: string | null;
}

/** Notes that a Redis belongs to this database. */
export async function notePairing(sql: Sql, identity: string): Promise<void> {
  await sql`UPDATE database_identity SET paired_as = ${identity}`;
}

/** Rejects if the database is not migrated. */
export async function readDatabaseIdentity(sql: Sql): Promise<DatabaseIdentity> {
  // Every role may call the function, unless an administrator has revoked it.
  const [{ mayAsk } = { mayAsk: false }] = await sql<{ mayAsk: boolean }[]>`
    SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS may_ask`;
  const system = mayAsk
    ? sql`(SELECT system_identifier::text FROM pg_control_system())`
    : sql`'unknown'`;
  const [row] = await sql<DatabaseIdentity[]>`
    SELECT concat_ws('.', identity::text, ${system}, (
      SELECT oid::text FROM pg_database WHERE datname = current_database())) AS identity, paired_as
    FROM database_identity`;
  return { ...row! };
}
