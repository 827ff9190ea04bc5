/**
 * Finds redis-server and PostgreSQL in the directories where packages install them. Plain JavaScript: the set-up script
 * runs it before any package is installed. The stack uses it to start both servers.
 *
 * @typedef {{ path: string, version: string }} RedisServer
 * @typedef {{ bin: string, version: string, major: number }} PostgresInstallation `bin` is a directory
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** 7.0 introduced functions and multi-part AOF, which the engine needs. */
export const REDIS_OLDEST = '7.0';
/** The oldest release that the PostgreSQL project still maintains. Migrations need it, for `NULLS NOT DISTINCT`. */
export const POSTGRES_OLDEST_MAJOR = 15;

const HOMEBREW_PREFIXES = ['/opt/homebrew', '/usr/local', '/home/linuxbrew/.linuxbrew'];

/**
 * Every redis-server on this machine, of any version; those on the PATH first.
 *
 * @returns {RedisServer[]}
 */
export function findRedisServers() {
  const directories = [
    ...pathDirectories(),
    ...HOMEBREW_PREFIXES.flatMap((prefix) => [`${prefix}/bin`, `${prefix}/opt/redis/bin`]),
    '/usr/bin',
    '/usr/sbin',
  ];
  return existing(directories, ['redis-server']).flatMap((directory) => {
    const path = join(directory, 'redis-server');
    const version = /v=(\d+\.\d+\.\d+)/.exec(outputOf(path, ['--version']))?.[1];
    return version ? [{ path, version }] : [];
  });
}

/**
 * Every installation with both `postgres` and `initdb`, of any version; those on the PATH first.
 *
 * @returns {PostgresInstallation[]}
 */
export function findPostgresInstallations() {
  const directories = [
    ...pathDirectories(),
    ...numberedNewestFirst('/usr/lib/postgresql', (version) => `${version}/bin`),
    ...numberedNewestFirst('/usr', (name) => `${name}/bin`, /^pgsql-(\d+)$/),
    ...HOMEBREW_PREFIXES.flatMap((prefix) => [
      ...numberedNewestFirst(`${prefix}/opt`, (name) => `${name}/bin`, /^postgresql@(\d+)$/),
      `${prefix}/opt/postgresql/bin`,
      `${prefix}/bin`,
    ]),
    outputOf('pg_config', ['--bindir']).trim(),
  ];
  return existing(directories, ['postgres', 'initdb']).flatMap((bin) => {
    const version = /\s(\d+[.\w]*)/.exec(outputOf(join(bin, 'postgres'), ['--version']))?.[1];
    return version ? [{ bin, version, major: Number.parseInt(version, 10) }] : [];
  });
}

/** The first one that is new enough. */
export function findRedisServer() {
  return findRedisServers().find(({ version }) => isAtLeast(version, REDIS_OLDEST));
}

/**
 * The first installation of the given major version, which existing data needs, or the first one that is new enough.
 *
 * @param {number} [wantedMajor]
 */
export function findPostgres(wantedMajor) {
  return findPostgresInstallations().find(({ major }) =>
    wantedMajor === undefined ? major >= POSTGRES_OLDEST_MAJOR : major === wantedMajor,
  );
}

/**
 * The path of another server's program. Those that only root runs are not on every user's PATH.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
export function findProgram(name) {
  const directories = [...pathDirectories(), '/usr/sbin', '/usr/local/sbin'];
  const [directory] = existing(directories, [name]);
  return directory && join(directory, name);
}

/** A Chromium or Chrome for the browser tests. */
export function findBrowser() {
  const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
  const applications = ['Chromium', 'Google Chrome'].map(
    (name) => `/Applications/${name}.app/Contents/MacOS/${name}`,
  );
  return (
    names.map(findProgram).find((path) => path !== undefined) ??
    applications.find((path) => isExecutable(path))
  );
}

function pathDirectories() {
  return (process.env.PATH ?? '').split(delimiter);
}

/** The directories that hold all of these executables; a directory that several links lead to counts once. */
function existing(directories, names) {
  const seen = new Set();
  return directories.filter((directory) => {
    if (directory === '' || !names.every((name) => isExecutable(join(directory, name))))
      return false;
    const real = realpathSync(join(directory, names[0]));
    if (seen.has(real)) return false;
    seen.add(real);
    return true;
  });
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function numberedNewestFirst(parent, pathOf, pattern = /^(\d+)$/) {
  let names;
  try {
    names = readdirSync(parent);
  } catch {
    return [];
  }
  return names
    .flatMap((name) => {
      const number = pattern.exec(name)?.[1];
      return number ? [{ name, number: Number(number) }] : [];
    })
    .sort((a, b) => b.number - a.number)
    .map(({ name }) => join(parent, pathOf(name)));
}

function isAtLeast(version, oldest) {
  const [major, minor] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = oldest.split('.').map(Number);
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}

function outputOf(command, args) {
  return spawnSync(command, args, { encoding: 'utf8' }).stdout ?? '';
}
