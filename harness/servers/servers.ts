/**
 * Real servers for tests: a Redis and a database for each test file, and a PostgreSQL of its own for a test that
 * stops one. All on free loopback ports, with their data in temporary directories that go when they stop.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { findPostgres, findRedisServer } from '../../src/dev/bootstrap/find-servers.mjs';
import { migrate } from '../../src/postgres/migrate.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { ServerProcess } from './server-process.ts';

export { eventually } from '../eventually.ts';

/** A migrated database without rows, from which every test's database is copied. */
export const TEMPLATE_DATABASE = 'flash_sale_template';
export const POSTGRES_VARIABLE = 'TEST_POSTGRES_URL';

export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly isRunning: boolean;
  /** Ends it in order and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL; `start` brings it back with what it had written. */
  kill(): Promise<void>;
  /** In order, and back with all its data. */
  restart(): Promise<void>;
  start(): Promise<void>;
  /** Frozen: connections stay open, nothing answers. */
  pause(): void;
  resume(): void;
}

export interface TestRedis extends TestServer {
  /** Where its append-only files are. */
  directory: string;
}

export interface TestPostgres extends TestServer {
  /** Ends it in order and keeps its data, for `start`. */
  shutDown(): Promise<void>;
}

export interface RedisChoices {
  /** `always` unless a test wants a server that may forget. */
  appendfsync?: 'always' | 'everysec' | 'no';
  /** More of redis.conf, e.g. `['--maxmemory', '50mb']`. */
  args?: string[];
}

/** As the engine demands it: append-only, fsync always, no eviction. */
export async function startRedis(choices: RedisChoices = {}): Promise<TestRedis> {
  const server = findRedisServer();
  if (!server) throw new Error('redis-server is not on this machine; npm test installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-redis-'));
  const [port] = await findFreePorts(1);
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: 'yes',
    appendfsync: choices.appendfsync ?? 'always',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const redisProcess = await ServerProcess.start({
    command: server.path,
    args: [...args, ...(choices.args ?? [])],
    stopSignal: 'SIGTERM',
    isReady: () => answersPing(port!),
  });
  const url = `redis://127.0.0.1:${port}`;
  return Object.assign(asTestServer(redisProcess, url, port!, directory), { directory });
}

/** A PostgreSQL of its own, durable and migrated, for a test that stops, kills or freezes one. */
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

/** The one PostgreSQL that a test run shares; it may forget, so it is faster. */
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

export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

/** A migrated database of the test's own, in the PostgreSQL that the runner started. */
export async function createDatabase(): Promise<TestDatabase> {
  const url = process.env[POSTGRES_VARIABLE];
  if (!url) {
    throw new Error(`${POSTGRES_VARIABLE} is not set: run this test by npm test -- <its path>`);
  }
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(url, (sql) => sql`CREATE DATABASE ${sql(name)} TEMPLATE ${sql(TEMPLATE_DATABASE)}`);
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
 * A Ctrl-C in the terminal would be initdb's failure before anybody hears of it as a wish to stop. `spawnSync` takes
 * this as `spawn` does, only its types do not say so.
 */
const IN_ITS_OWN_GROUP = { detached: true };

async function startCluster(settings: Record<string, string>): Promise<Cluster> {
  const installation = findPostgres();
  if (!installation) throw new Error('PostgreSQL is not on this machine; npm test installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-postgres-'));
  const user = systemUser();
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
    isReady: async () => {
      await execute(adminUrl(port!), (sql) => sql`SELECT 1`);
      return true;
    },
  });
  const server = asTestServer(postmaster, adminUrl(port!), port!, directory);
  return { postmaster, server, directory, port: port! };
}

function asTestServer(
  server: ServerProcess,
  url: string,
  port: number,
  directory: string,
): TestServer {
  return {
    url,
    port,
    get pid() {
      return server.pid;
    },
    get isRunning() {
      return server.isRunning;
    },
    stop: async () => {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
    kill: () => server.kill(),
    restart: () => server.restart(),
    start: () => server.start(),
    pause: () => server.pause(),
    resume: () => server.resume(),
  };
}

/** PostgreSQL refuses to run as root. */
function systemUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const user = { uid: idOf('-u'), gid: idOf('-g') };
  if (!Number.isInteger(user.uid))
    throw new Error('there is no user postgres to run PostgreSQL as');
  return user;
}

function idOf(option: string): number {
  return Number(spawnSync('id', [option, 'postgres'], { encoding: 'utf8' }).stdout || Number.NaN);
}

/** On the loopback. */
export async function answersPing(port: number): Promise<boolean> {
  // Its own check of a server that still loads its file would look again after a second at the soonest.
  const redis = new Redis({
    port,
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
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
