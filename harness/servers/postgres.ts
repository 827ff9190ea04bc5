/**
 * Real PostgreSQL for tests, on free loopback ports, with temporary data. A test run shares one server, with a database
 * for each test file. A test that stops, kills or freezes PostgreSQL has a server of its own.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { findPostgres } from '../../src/dev/bootstrap/find-servers.mjs';
import { migrate } from '../../src/postgres/migrate.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { type Scope, use } from '../use.ts';
import { asTestServer, ServerProcess, type TestServer } from './server-process.ts';

/** A migrated, empty database, from which every test's database is copied. */
const TEMPLATE_DATABASE = 'flash_sale_template';
export const POSTGRES_VARIABLE = 'TEST_POSTGRES_URL';

export interface TestPostgres extends TestServer {
  /** A graceful shutdown that keeps its data, for `start`. */
  shutDown(): Promise<void>;
}

export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

export function usePostgres(scope: Scope): Promise<TestPostgres> {
  return use(scope, startPostgres);
}

export function useDatabase(scope: Scope): Promise<TestDatabase> {
  return use(
    scope,
    () => createDatabase(),
    (database) => database.drop(),
  );
}

/** A database without a schema. */
export function useEmptyDatabase(scope: Scope): Promise<TestDatabase> {
  return use(
    scope,
    () => createDatabase('template0'),
    (database) => database.drop(),
  );
}

/** A copy on the same server, as it is made for staging. Sessions of the original are ended, because they prevent it. */
export function useCopyOf(scope: Scope, original: TestDatabase): Promise<TestDatabase> {
  return use(
    scope,
    () => copyDatabase(original.url),
    (copy) => copy.drop(),
  );
}

export async function copyDatabase(url: string): Promise<TestDatabase> {
  const { pathname } = new URL(url);
  const original = pathname.slice(1);
  const maintenanceUrl = urlOfDatabase(url, 'postgres');
  const name = `copy_${randomBytes(8).toString('hex')}`;
  await execute(maintenanceUrl, async (sql) => {
    await sql`ALTER DATABASE ${sql(original)} ALLOW_CONNECTIONS false`;
    try {
      await sql`
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ${original}`;
      await sql`CREATE DATABASE ${sql(name)} TEMPLATE ${sql(original)}`;
    } finally {
      await sql`ALTER DATABASE ${sql(original)} ALLOW_CONNECTIONS true`;
    }
  });
  return {
    url: urlOfDatabase(url, name),
    drop: () =>
      execute(maintenanceUrl, (sql) => sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`),
  };
}

/** A durable, migrated server for one test. */
export async function startPostgres(): Promise<TestPostgres> {
  const cluster = await startCluster({});
  const url = `postgres://postgres@127.0.0.1:${cluster.port}/flash_sale`;
  try {
    await execute(adminUrl(cluster.port), (sql) => sql`CREATE DATABASE flash_sale`);
    await migrate(url, () => undefined);
  } catch (error) {
    await cluster.server.stop();
    throw error;
  }
  const { postmaster, port, directory } = cluster;
  return Object.assign(asTestServer(postmaster, url, port, directory), {
    shutDown: () => postmaster.stop(),
  });
}

/** The server that a test run shares. It may lose writes, which makes it faster. */
export async function startSharedPostgres(): Promise<{ url: string; server: TestServer }> {
  const cluster = await startCluster({
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    max_connections: '300',
  });
  const url = adminUrl(cluster.port);
  try {
    await execute(url, (sql) => sql`CREATE DATABASE ${sql(TEMPLATE_DATABASE)}`);
    await migrate(urlOfDatabase(url, TEMPLATE_DATABASE), () => undefined);
  } catch (error) {
    await cluster.server.stop();
    throw error;
  }
  return { url, server: cluster.server };
}

/** A new migrated database in the server that the test runner started. */
async function createDatabase(template = TEMPLATE_DATABASE): Promise<TestDatabase> {
  const url = process.env[POSTGRES_VARIABLE];
  if (!url) {
    throw new Error(`${POSTGRES_VARIABLE} is not set: run this test by npm test -- <its path>`);
  }
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(url, (sql) => sql`CREATE DATABASE ${sql(name)} TEMPLATE ${sql(template)}`);
  return {
    url: urlOfDatabase(url, name),
    drop: () => execute(url, (sql) => sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`),
  };
}

interface Cluster {
  postmaster: ServerProcess;
  server: TestServer;
  directory: string;
  port: number;
}

/**
 * Without its own group, initdb would fail at the terminal's Ctrl-C before this process handles the signal. `spawnSync`
 * supports this option as `spawn` does; its types omit it.
 */
const IN_ITS_OWN_GROUP = { detached: true };

async function startCluster(settings: Record<string, string>): Promise<Cluster> {
  const installation = findPostgres();
  if (!installation) throw new Error('PostgreSQL is not installed; npm test installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-postgres-'));
  const user = postgresUser();
  if (user) chownSync(directory, user.uid, user.gid);
  const data = join(directory, 'data');
  const initdb = spawnSync(
    join(installation.bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    { ...user, ...IN_ITS_OWN_GROUP, cwd: '/', encoding: 'utf8' },
  );
  if (initdb.status !== 0) throw new Error(`initdb failed: ${initdb.stderr}`);
  const [port] = await findFreePorts(1);
  const all = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    port: String(port),
    shared_buffers: '128MB',
    max_wal_size: '2GB',
    timezone: 'UTC',
    ...settings,
  };
  const postmaster = await ServerProcess.start({
    command: join(installation.bin, 'postgres'),
    args: [
      '-D',
      data,
      ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    user,
    // Fast shutdown: ends sessions instead of waiting for them.
    stopSignal: 'SIGINT',
    isReady: () => respondsToSql(adminUrl(port!)),
  });
  const server = asTestServer(postmaster, adminUrl(port!), port!, directory);
  return { postmaster, server, directory, port: port! };
}

/** PostgreSQL refuses to run as root. */
export function postgresUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const user = { uid: idOf('-u'), gid: idOf('-g') };
  if (!Number.isInteger(user.uid))
    throw new Error('PostgreSQL cannot run as root, and there is no user postgres');
  return user;
}

function idOf(option: string): number {
  return Number(spawnSync('id', [option, 'postgres'], { encoding: 'utf8' }).stdout || Number.NaN);
}

export async function respondsToSql(url: string): Promise<boolean> {
  await execute(url, (sql) => sql`SELECT 1`);
  return true;
}

async function execute(
  url: string,
  statement: (sql: postgres.Sql) => Promise<unknown>,
): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => undefined, connect_timeout: 5 });
  try {
    await statement(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function adminUrl(port: number): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

function urlOfDatabase(url: string, database: string): string {
  return Object.assign(new URL(url), { pathname: `/${database}` }).href;
}
