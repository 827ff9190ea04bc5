/** A migration that is killed is run again from its beginning, and concurrent migrations run once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
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

test('a migration that waits for a long query does not make others wait for it', async () => {
  await sql.unsafe('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  await migrate(database.url, () => undefined);
  // As if the last migration that changes a large table were still to do.
  await sql.unsafe(`
    DROP TRIGGER reservation_events_first_once ON reservation_events;
    DROP FUNCTION keep_first_event_once();
    DROP VIEW reservation_history;
    ALTER TABLE reservations DROP COLUMN first_event;
    DELETE FROM schema_version WHERE version >= 18`);
  const reader = connectPostgres(database.url, { process: 'test', connectionsMax: 1 });
  const lines: string[] = [];
  let migrating: Promise<void> | undefined;
  await reader.begin(async (transaction) => {
    await transaction`SELECT count(*) FROM reservations`;
    migrating = migrate(database.url, (line) => lines.push(line));
    await eventually(() => assert.equal(lines.length, 1));
    for (let i = 0; i < 10; i += 1) {
      const startedAt = performance.now();
      await sql`SELECT count(*) FROM reservations`;
      assert.ok(performance.now() - startedAt < 15_000);
      await sleep(200);
    }
  });
  await reader.end();
  await migrating;
  assert.match(lines.join('\n'), /^waiting for queries.*applied migration 18: /s);
});

const indexes = () => sql<{ name: string; isValid: boolean }[]>`
  SELECT relname AS name, indisvalid AS is_valid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
  WHERE relname IN ('reservations_by_buyer', 'reservations_of_buyer')`;
const REPLACED = [{ name: 'reservations_of_buyer', isValid: true }];

test('an index is replaced while reservations are written', async () => {
  await sql.unsafe('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  await migrate(database.url, () => undefined);
  assert.deepEqual([...(await indexes())], REPLACED);
  await sql.unsafe(`
    DROP INDEX reservations_of_buyer;
    CREATE INDEX reservations_by_buyer ON reservations (buyer_id, sale_id)`);
  const writer = connectPostgres(database.url, { process: 'test', connectionsMax: 1 });
  const lines: string[] = [];
  let migrating: Promise<unknown> | undefined;
  await writer.begin(async (transaction) => {
    // The builds wait for this transaction, and other writes do not wait for the builds.
    await transaction`DELETE FROM reservations`;
    migrating = Promise.all([1, 2].map(() => migrate(database.url, (line) => lines.push(line))));
    await eventually(async () => {
      const building = await sql`
        SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'`;
      assert.equal(building.length, 1);
    });
    await sql`DELETE FROM reservations`;
  });
  await writer.end();
  await migrating;
  assert.deepEqual([...(await indexes())], REPLACED);
  assert.equal(lines.filter((line) => line.startsWith('replaced index')).length, 1);
});

test('an index that a killed migration has left half built is built again', async () => {
  await sql`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'reservations_of_buyer'::regclass`;
  await migrate(database.url, () => undefined);
  assert.deepEqual([...(await indexes())], REPLACED);
});
