/**
 * The private stack's PostgreSQL: a cluster of its own, made once, on the loopback, behind a password.
 *
 * PostgreSQL refuses to run as root. Started by root it therefore runs as the system user `postgres`, and where that
 * user cannot get at the home (a checkout under /root), its data is kept outside, with a link in the home.
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
  /** Takes connections, and has the engine's database. */
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
 * For a server that mostly writes. Nothing here gives durability up: fsync, full_page_writes and synchronous_commit
 * are as PostgreSQL ships them, on, and named so that no file of the user's can say otherwise.
 */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  // Paths of sockets end at 107 bytes and their directories have owners; the loopback has neither trouble.
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  // Written while a batch comes in, so that its commit has little left to wait for.
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

/** Makes the cluster when there is none; starts nothing. */
export async function preparePrivatePostgres(
  home: Home,
  settings: PostgresSettings,
): Promise<PrivatePostgres> {
  const user = systemUser(home);
  const directory = placeForData(home, user);
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
      // Fast shutdown: ends sessions instead of waiting for them, and writes a checkpoint.
      stopSignal: 'SIGINT',
      stopDeadlineMs: 20_000,
    },
    version: installation.version,
    isReady: () => ensureDatabase(privatePostgresUrl(settings, 'postgres')),
  };
}

/** Whom PostgreSQL has to run as; undefined when it may run as ourselves. */
function systemUser(home: Home): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  // Data that an ordinary user made, before root came along, stays that user's.
  const owner = existsSync(home.postgres) ? statSync(home.postgres) : undefined;
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const [uid, gid] = ['-u', '-g'].map((option) => idOf(option));
  if (uid === undefined || gid === undefined) {
    throw new Fault(
      'server_unfit',
      'PostgreSQL refuses to run as root, and there is no user postgres that it could run as. Run this as an ordinary user, or type:\n  useradd --system postgres',
    );
  }
  return { uid, gid };
}

function idOf(option: string): number | undefined {
  const { status, stdout } = spawnSync('id', [option, 'postgres'], { encoding: 'utf8' });
  return status === 0 ? Number(stdout) : undefined;
}

/** `<home>/postgres`, or the directory it links to. */
function placeForData(home: Home, user: SystemUser | undefined): string {
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
  // A home that has no link to it is a new one: this belonged to one that was deleted, and so did its password.
  rmSync(outside, { recursive: true, force: true });
  makeDirectory(outside, user);
  symlinkSync(outside, home.postgres);
  return outside;
}

function makeDirectory(path: string, user: SystemUser | undefined): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (user) chownSync(path, user.uid, user.gid);
}

/** Asks the system itself, as that user: modes of parents, access lists and mounts all have a say in it. */
function canReach(directory: string, user: SystemUser): boolean {
  return spawnSync('test', ['-w', directory], { ...user, cwd: '/' }).status === 0;
}

/** A cluster belongs to the major version that made it. */
function installationFor(data: string, home: Home): PostgresInstallation {
  const versionFile = join(data, 'PG_VERSION');
  const major = existsSync(versionFile) ? Number(readFileSync(versionFile, 'utf8')) : undefined;
  const installation = findPostgres(major);
  if (installation) return installation;
  throw new Fault(
    'server_unfit',
    major === undefined
      ? `PostgreSQL ${POSTGRES_OLDEST_MAJOR} or newer is not on this machine. Type:\n  npm start`
      : `The data in ${home.postgres} was made by PostgreSQL ${major}, which is not on this machine any more. Install it, or begin anew:\n  npm start -- --fresh`,
  );
}

/** Made beside its place and renamed into it, so that a half-made cluster never looks like one. */
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

  /** Not every system has C.UTF-8; both compare by code point. */
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

/** Only this: variables such as PGDATA or PGOPTIONS of the user's shell mean other servers. */
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
