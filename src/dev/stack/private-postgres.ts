/**
 * The PostgreSQL of a private stack: a cluster that is created once and listens on the loopback interface.
 *
 * PostgreSQL refuses to run as root, so root starts it as the system user `postgres`. Where that user cannot access the
 * home (a checkout under /root), the data is kept outside and the home has a link to it.
 */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import postgres from 'postgres';
import { Fault } from '../../domain/fault.ts';
import type { ProcessPlan } from '../../process/supervisor/supervised-process.ts';
import {
  findPostgres,
  POSTGRES_OLDEST_MAJOR,
  type PostgresInstallation,
} from '../bootstrap/find-servers.mjs';
import type { Home } from './home.ts';

export interface PrivatePostgres {
  plan: ProcessPlan;
  version: string;
  /** Whether it accepts connections and has the database of the engine. */
  isReady: () => Promise<boolean>;
}

interface SystemUser {
  uid: number;
  gid: number;
}

const ROLE = 'flash_sale';
const DATABASE = 'flash_sale';
const OUTSIDE_HOME = '/var/lib/flash-sale';

/**
 * For a server that mostly writes. Durability settings have PostgreSQL's defaults; they are listed so that no
 * configuration file of the user can change them.
 */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  // Off: a socket's path is limited to 107 bytes, and PostgreSQL's user may not be allowed to write to its directory.
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  // Writes the log while a batch arrives, so that its commit waits less.
  wal_writer_delay: '10ms',
  checkpoint_timeout: '15min',
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  cluster_name: 'flash-sale',
};

interface PostgresSettings {
  port: number;
  password: string;
}

const execute = promisify(execFile);

export function privatePostgresUrl(settings: PostgresSettings, database = DATABASE): string {
  return `postgres://${ROLE}:${settings.password}@127.0.0.1:${settings.port}/${database}`;
}

/** Creates the cluster when there is none. Does not start it. */
export async function preparePrivatePostgres(
  home: Home,
  settings: PostgresSettings,
): Promise<PrivatePostgres> {
  const user = systemUser(home);
  const directory = dataDirectory(home, user);
  const data = join(directory, 'data');
  const installation = installationFor(data, home);
  if (!existsSync(data)) await initialise(installation, directory, settings.password, user);

  const args = Object.entries({ ...SETTINGS, port: String(settings.port) }).flatMap(
    ([name, value]) => ['-c', `${name}=${value}`],
  );
  return {
    plan: {
      name: 'postgres',
      kind: 'server',
      command: join(installation.bin, 'postgres'),
      args: ['-D', data, ...args],
      env: serverEnvironment(),
      ...(user ? { user } : {}),
      // Fast shutdown: ends sessions and writes a checkpoint.
      stopSignal: 'SIGINT',
      stopDeadlineMs: 20_000,
    },
    version: installation.version,
    isReady: () => ensureDatabase(privatePostgresUrl(settings, 'postgres')),
  };
}

/** The user that PostgreSQL must run as; undefined for the current one. */
function systemUser(home: Home): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  // Data that an ordinary user created stays that user's.
  const owner = existsSync(home.postgres) ? statSync(home.postgres) : undefined;
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const [uid, gid] = ['-u', '-g'].map((option) => idOf(option));
  if (uid === undefined || gid === undefined) {
    throw new Fault(
      'server_unfit',
      'PostgreSQL refuses to run as root, and the system has no user postgres. Run this as an ordinary user, or create that user:\n  useradd --system postgres',
    );
  }
  return { uid, gid };
}

function idOf(option: string): number | undefined {
  const { status, stdout } = spawnSync('id', [option, 'postgres'], { encoding: 'utf8' });
  return status === 0 ? Number(stdout) : undefined;
}

/** `<home>/postgres`, or the directory it links to. */
function dataDirectory(home: Home, user: SystemUser | undefined): string {
  if (isLink(home.postgres)) {
    const outside = readlinkSync(home.postgres);
    makeDirectory(outside, user);
    return outside;
  }
  makeDirectory(home.postgres, user);
  if (!user || canReach(home.postgres, user)) return home.postgres;

  rmSync(home.postgres, { recursive: true });
  mkdirSync(OUTSIDE_HOME, { recursive: true, mode: 0o755 });
  const name = createHash('sha256').update(home.directory).digest('hex').slice(0, 16);
  const outside = join(OUTSIDE_HOME, name);
  // Without a link to it, this data belongs to a deleted home, whose password is gone, too.
  rmSync(outside, { recursive: true, force: true });
  makeDirectory(outside, user);
  symlinkSync(outside, home.postgres);
  return outside;
}

function makeDirectory(path: string, user: SystemUser | undefined): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (user) chownSync(path, user.uid, user.gid);
}

/** Tries it as that user, because modes of parents, access lists and mounts all matter. */
function canReach(directory: string, user: SystemUser): boolean {
  return spawnSync('test', ['-w', directory], { ...user, cwd: '/' }).status === 0;
}

/** A cluster can run only with the major version that created it. */
function installationFor(data: string, home: Home): PostgresInstallation {
  const versionFile = join(data, 'PG_VERSION');
  const major = existsSync(versionFile) ? Number(readFileSync(versionFile, 'utf8')) : undefined;
  const installation = findPostgres(major);
  if (installation) return installation;
  throw new Fault(
    'server_unfit',
    major === undefined
      ? `PostgreSQL ${POSTGRES_OLDEST_MAJOR} or newer was not found on this machine. To install it, type:\n  npm start`
      : `The data in ${home.postgres} belongs to PostgreSQL ${major}, which is no longer on this machine. Install it, or start with empty data:\n  npm start -- --fresh`,
  );
}

/** Renames the finished cluster into place, so that an interrupted run leaves no partial one. */
async function initialise(
  { bin }: PostgresInstallation,
  directory: string,
  password: string,
  user: SystemUser | undefined,
): Promise<void> {
  const draft = join(directory, 'data.draft');
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user) chownSync(passwordFile, user.uid, user.gid);
  try {
    await initdb('C.UTF-8').catch(() => initdb('C'));
    renameSync(draft, join(directory, 'data'));
  } catch (error) {
    throw new Fault('server_unfit', `PostgreSQL's initdb failed: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(draft, { recursive: true, force: true });
  }

  /** Not every system has C.UTF-8. Both locales compare by code point. */
  async function initdb(locale: string): Promise<void> {
    rmSync(draft, { recursive: true, force: true });
    await execute(
      join(bin, 'initdb'),
      [
        ['--pgdata', draft],
        ['--username', ROLE],
        ['--pwfile', passwordFile],
        ['--auth', 'scram-sha-256'],
        ['--encoding', 'UTF8'],
        ['--locale', locale],
      ].flat(),
      { ...user, cwd: '/', env: serverEnvironment() },
    );
  }
}

/** Excludes variables of the user's shell, such as PGDATA and PGOPTIONS, which are meant for other servers. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };
}

async function ensureDatabase(maintenanceUrl: string): Promise<boolean> {
  const sql = postgres(maintenanceUrl, { max: 1, connect_timeout: 2, onnotice: () => undefined });
  try {
    const found = await sql`SELECT 1 FROM pg_database WHERE datname = ${DATABASE}`;
    if (found.length === 0) await sql`CREATE DATABASE ${sql(DATABASE)}`;
    return true;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}
