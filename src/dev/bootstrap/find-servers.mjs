/**
 * Finds redis-server and PostgreSQL on this machine, wherever their packages put them. The only place that searches:
 * set-up asks it before packages are installed (hence plain JavaScript), the stack when it starts them.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Functions and multi-part AOF, which the engine needs, came with 7.0. */
export const REDIS_OLDEST = '7.0';
/** The oldest release that PostgreSQL itself still mends. */
export const POSTGRES_OLDEST_MAJOR = 14;

const HOMEBREW_PREFIXES = ['/opt/homebrew', '/usr/local', '/home/linuxbrew/.linuxbrew'];

/** Every redis-server there is, new enough or not, those on the PATH first: `[{ path, version }]`. */
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

/** Every PostgreSQL that has both `postgres` and `initdb`: `[{ bin, version, major }]`, those on the PATH first. */
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

/** The first that will do, or undefined. */
export function findRedisServer() {
  return findRedisServers().find(({ version }) => isAtLeast(version, REDIS_OLDEST));
}

/** The first that will do, or undefined. Data belongs to the major version that wrote it: name it to continue it. */
export function findPostgres(wantedMajor) {
  return findPostgresInstallations().find(({ major }) =>
    wantedMajor === undefined ? major >= POSTGRES_OLDEST_MAJOR : major === wantedMajor,
  );
}

function pathDirectories() {
  return (process.env.PATH ?? '').split(delimiter);
}

/** The directories that hold all of these as executables, each once although links may lead to it twice. */
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
