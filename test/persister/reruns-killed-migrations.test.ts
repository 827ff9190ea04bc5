/** A migration that is killed is run again from its beginning, and concurrent migrations run once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { FILE, use } from '../../harness/use.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { migrate } from '../../src/postgres/migrate.ts';

const database = await useDatabase(FILE);
const sql = await use(
  FILE,
  () => connectPostgres(database.url, { process: 'test', connectionsMax: 1 }),
  (connection) => connection.end(),
);

test('a migration that dies before it is recorded is run again from its beginning', async () => {
  // An empty database in which the session that records the third migration is killed.
  await sql.unsafe(`
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public;
    CREATE TABLE schema_version (version bigint PRIMARY KEY, name text, md5 text, run_at timestamptz);
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
    CREATE TRIGGER die BEFORE INSERT ON schema_version
      FOR EACH ROW WHEN (NEW.version = 3) EXECUTE FUNCTION die()`);
  await assert.rejects(migrate(database.url, () => undefined));
  await sql`DROP TRIGGER die ON schema_version`;

  const lines: string[] = [];
  await migrate(database.url, (line) => lines.push(line));
  assert.match(lines.join('\n'), /applied migration 1: .*applied migration 3: /s);
  await migrate(database.url, (line) => lines.push(line));
  assert.equal(lines.at(-1), 'the database is up to date');
});

test('concurrent migrations apply each step once', async () => {
  await sql.unsafe('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  const lines: string[] = [];
  await Promise.all([1, 2, 3].map(() => migrate(database.url, (line) => lines.push(line))));
  assert.equal(lines.filter((line) => line.startsWith('applied migration 3:')).length, 1);
  assert.equal(lines.filter((line) => line === 'the database is up to date').length, 2);
});
