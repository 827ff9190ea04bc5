/**
 * Installs what a bare machine lacks: packages, redis-server, PostgreSQL. Then runs a script with the project's Node:
 *   node scripts/set-up.mjs [--with-proxies] [--with-prometheus] [--with-wrk] [--with-faults] [--with-etcd]
 *     [script.ts [arguments…]]
 * The tests also need PgBouncer, nginx, HAProxy and Chromium: `--with-proxies`. The checks of rules and alerts need Prometheus.
 * Most benches need wrk. A Kubernetes control plane needs etcd: `--with-etcd`. Slow disks and wrong clocks of servers need strace and faketime: `--with-faults`.
 * Runs on Node 18 or newer without packages, because it installs them. Prints nothing when nothing is missing.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tryLock } from '../src/dev/bootstrap/exclusive-lock.mjs';
import {
  findBrowser,
  findPostgres,
  findPostgresInstallations,
  findProgram,
  findRedisServer,
  findRedisServers,
  POSTGRES_OLDEST_MAJOR,
  REDIS_OLDEST,
} from '../src/dev/bootstrap/find-servers.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MODULES = join(ROOT, 'node_modules');
const BIN = join(MODULES, '.bin');
/** Inside node_modules, so that it disappears with them. */
const STAMP = join(MODULES, '.set-up-stamp');
const LOCK = join(ROOT, '.flash-sale', 'set-up.lock');
const LOCK_WAIT_MS = 15 * 60_000;
const PARENT_CHECK_MS = 500;
const NODE = supportedNode();

/** Compose reads its secrets from a file that the repository does not contain. */
const IN_CONTAINERS = '  node scripts/write-env.mjs\n  docker compose up';

/** An error that tells the user what to type; printed without a stack. */
class Instructions extends Error {}

/** Their names in the package managers. */
const SERVERS = [
  {
    label: `Redis ${REDIS_OLDEST} or newer`,
    isReady: () => findRedisServer() !== undefined,
    apt: 'redis-server',
    brew: 'redis',
    others: 'redis',
  },
  {
    label: `PostgreSQL ${POSTGRES_OLDEST_MAJOR} or newer`,
    isReady: () => findPostgres() !== undefined,
    apt: 'postgresql',
    brew: 'postgresql@17',
    others: 'postgresql',
  },
];
const PROXIES = [
  ['PgBouncer', 'pgbouncer', 'pgbouncer'],
  ['nginx', 'nginx', 'nginx-light'],
  ['HAProxy', 'haproxy', 'haproxy'],
].map(([label, name, apt]) => ({
  label,
  isReady: () => findProgram(name) !== undefined,
  apt,
  brew: name,
  others: name,
}));
const BROWSER = {
  label: 'Chromium',
  isReady: () => findBrowser() !== undefined,
  apt: 'chromium',
  brew: 'chromium',
  others: 'chromium',
};

const WRK = {
  label: 'wrk',
  isReady: () => findProgram('wrk') !== undefined,
  apt: 'wrk',
  brew: 'wrk',
  others: 'wrk',
};

const ETCD = {
  label: 'etcd',
  isReady: () => findProgram('etcd') !== undefined,
  apt: 'etcd-server',
  brew: 'etcd',
  others: 'etcd',
};

const FAULT_TOOLS = [
  ['strace', 'strace'],
  ['faketime', 'libfaketime'],
].map(([name, others]) => ({
  label: name,
  isReady: () => findProgram(name) !== undefined,
  apt: name,
  brew: others,
  others,
}));

/** Large, so `npm test` does without it. */
const PROMETHEUS = [
  {
    label: 'Prometheus',
    isReady: () => ['prometheus', 'promtool'].every((name) => findProgram(name) !== undefined),
    apt: 'prometheus',
    brew: 'prometheus',
    others: 'prometheus',
  },
];
const OPTIONS = new Map([
  ['--with-proxies', [...PROXIES, BROWSER]],
  ['--with-prometheus', PROMETHEUS],
  ['--with-wrk', [WRK]],
  ['--with-etcd', [ETCD]],
  // Both exist for Linux only; elsewhere these faults take no effect.
  ['--with-faults', process.platform === 'linux' ? FAULT_TOOLS : []],
]);

async function main(typed) {
  const programs = [...SERVERS];
  while (OPTIONS.has(typed[0])) programs.push(...OPTIONS.get(typed.shift()));
  const [script, ...args] = typed;
  try {
    await setUp(programs);
  } catch (error) {
    console.error(
      error instanceof Instructions ? error.message : `Set-up failed: ${error.message}`,
    );
    process.exit(1);
  }
  if (script !== undefined) runScript(script, args);
}

async function setUp(programs) {
  if (process.platform === 'win32') {
    throw new Instructions(`Redis does not run on Windows. Use WSL, or type:\n${IN_CONTAINERS}`);
  }
  if (packagesReady() && missingOf(programs).length === 0) return;
  const release = await lock();
  try {
    // The previous holder of the lock may have installed everything.
    if (!packagesReady()) installPackages();
    if (missingOf(programs).length > 0) installPrograms(programs);
  } finally {
    release();
  }
}

/** Concurrent installations would corrupt node_modules. */
async function lock() {
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (let told = false; ; told = true) {
    const { release, holderPid } = tryLock(LOCK);
    if (release) return release;
    if (!told) tell(`waiting for another set-up (process ${holderPid})`);
    if (Date.now() > deadline)
      throw new Instructions(
        `Process ${holderPid} still runs a set-up after ${LOCK_WAIT_MS / 60_000} minutes. Stop it, then try again.`,
      );
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// Packages

function packagesReady() {
  return readStamp() === packagesHash() && projectNode() !== undefined;
}

function readStamp() {
  try {
    return readFileSync(STAMP, 'utf8');
  } catch {
    return undefined;
  }
}

/** The packages depend on the lock file and the patches. */
function packagesHash() {
  const hash = createHash('sha256').update(readFileSync(join(ROOT, 'package-lock.json')));
  const patches = join(ROOT, 'patches');
  for (const file of existsSync(patches) ? readdirSync(patches).sort() : []) {
    hash.update(readFileSync(join(patches, file)));
  }
  return hash.digest('hex');
}

/** The Node among the packages; the current one if their install scripts did not run. */
function projectNode() {
  const installed = join(BIN, 'node');
  if (isSupported(spawnSync(installed, ['--version'], { encoding: 'utf8' }).stdout)) {
    return realpathSync(installed);
  }
  return isSupported(process.version) ? process.execPath : undefined;
}

/** Node must run TypeScript directly, and the HTTP server must have a binary for it (docs/NODE.md). */
function isSupported(version) {
  const [major, minor] = numbersIn(/^v(\d+)\.(\d+)/, version ?? '');
  const isNewEnough = major > NODE.major || (major === NODE.major && minor >= NODE.minor);
  return isNewEnough && major < NODE.belowMajor;
}

/** The range that package.json allows, such as `>=22.18 <23`. */
function supportedNode() {
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const [major, minor, belowMajor] = numbersIn(/^>=(\d+)\.(\d+) <(\d+)$/, engines.node);
  return { major, minor, belowMajor };
}

function numbersIn(pattern, text) {
  return (pattern.exec(text) ?? []).slice(1).map(Number);
}

function installPackages() {
  tell('installing the packages (npm ci)');
  rmSync(STAMP, { force: true });
  let result = npm('ci');
  if (result.status !== 0 && result.stderr.includes('EUSAGE')) {
    // A lock file may lack the optional packages of another platform, which `npm ci` rejects. `npm install` uses the
    // same locked versions and adds what is missing, without a change of the lock file.
    tell('the lock file lacks packages of this platform; installing with npm install');
    result = npm('install', '--no-save');
  }
  if (result.status !== 0) {
    throw new Instructions(
      `${result.stderr.trim()}\nThe packages could not be installed (${outcome(result)}). To see more, type:\n  npm ci\nOr run everything in containers, which needs only Docker:\n${IN_CONTAINERS}`,
    );
  }
  if (projectNode() === undefined) {
    throw new Instructions(
      `Node ${NODE.major} is missing among the packages, because install scripts are disabled here. Type:\n  npm ci --ignore-scripts=false\nOr use Node ${NODE.major}.${NODE.minor} or newer, below ${NODE.belowMajor}. Or run everything in containers, which needs only Docker:\n${IN_CONTAINERS}`,
    );
  }
  writeFileSync(STAMP, packagesHash());
}

/** Runs npm with the machine's Node, because the one in node_modules/.bin is removed during the installation. */
function npm(...command) {
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((directory) => !directory.startsWith(MODULES));
  const env = { ...process.env, PATH: path.join(delimiter) };
  const args = [...command, '--no-audit', '--no-fund', '--loglevel=error'];
  const options = { cwd: ROOT, env, encoding: 'utf8', stdio: ['ignore', 2, 'pipe'] };
  if (exists('npm', env)) return spawnSync('npm', args, options);
  const cli = process.env.npm_execpath;
  if (cli?.endsWith('npm-cli.js')) return spawnSync(process.execPath, [cli, ...args], options);
  throw new Instructions('npm was not found on the PATH. Install it with Node, then try again.');
}

// Servers, proxies and the browser

function missingOf(programs) {
  return programs.filter(({ isReady }) => !isReady());
}

function installPrograms(programs) {
  const missing = missingOf(programs);
  tell(`${namesOf(missing)} not found on this machine`);
  if (exists('apt-get')) installWithApt(missing);
  else if (exists('brew')) installWithHomebrew(missing);
  else throw new Instructions(whatToType(missing, 'no supported package manager was found'));
  const still = missingOf(programs);
  if (still.length > 0)
    throw new Instructions(
      whatToType(still, tooOld() ?? 'the installation ended, but the program was not found'),
    );
}

function namesOf(programs) {
  return programs.map(({ label }) => label).join(' and ');
}

/**
 * Debian starts a service when its package is installed. /usr/sbin/policy-rc.d prevents that. It exists only while apt
 * runs, and an existing one is not changed.
 */
const APT_SCRIPT = `
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
`;

function installWithApt(missing) {
  const packages = missing.map(({ apt }) => apt);
  const script = [
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'sh',
    '-c',
    APT_SCRIPT,
    'apt',
    ...packages,
  ];
  const [command, ...args] = [...privilege(missing), ...script];
  tell(
    `installing ${packages.join(' and ')} with apt-get${command === 'sudo' ? ' with sudo' : ''}`,
  );
  const result = spawnSync(command, args, { stdio: ['inherit', 2, 2] });
  if (result.status !== 0)
    throw new Instructions(whatToType(missing, `apt-get failed (${outcome(result)})`));
  const services = missing.filter((program) => ![BROWSER, WRK, ...FAULT_TOOLS].includes(program));
  if (services.length === 0) return;
  const names = services.map(({ apt }) => apt.replace('-light', ''));
  tell(
    `the packages registered system services, which this project does not use. They were not started, but a reboot would start them. To prevent that: systemctl disable ${names.join(' ')}`,
  );
}

function privilege(missing) {
  if (process.getuid() === 0) return [];
  if (!exists('sudo'))
    throw new Instructions(whatToType(missing, 'the user is not root, and there is no sudo'));
  if (process.stdin.isTTY) return ['sudo'];
  // Without a terminal, the prompt for a password would wait forever.
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n'];
  throw new Instructions(
    whatToType(missing, 'sudo needs a password, and there is no terminal to enter it'),
  );
}

function installWithHomebrew(missing) {
  const packages = missing.map(({ brew }) => brew);
  const result = spawnSync('brew', ['install', '--quiet', ...packages], {
    stdio: ['inherit', 2, 2],
  });
  if (result.status !== 0)
    throw new Instructions(whatToType(missing, `brew failed (${outcome(result)})`));
}

function tooOld() {
  const found = [
    ...findRedisServers().map(({ path, version }) => `${path} is ${version}`),
    ...findPostgresInstallations().map(
      ({ bin, version }) => `${join(bin, 'postgres')} is ${version}`,
    ),
  ];
  return found.length === 0 ? undefined : `the installed versions are too old: ${found.join(', ')}`;
}

function whatToType(missing, reason) {
  return `${namesOf(missing)} could not be installed: ${reason}.

Type one of these, then try again:
${installLines(missing)
  .map((line) => `  ${line}`)
  .join('\n')}
Or run everything in containers, which needs only Docker:
${IN_CONTAINERS}`;
}

function installLines(missing) {
  const listed = (manager) => missing.map((program) => program[manager]).join(' ');
  const sudo = process.getuid() === 0 ? '' : 'sudo ';
  if (exists('apt-get') && findRedisServers().length > 0 && !findRedisServer()) {
    // The distribution's Redis is too old, so it comes from the repository of Redis.
    return [
      `curl -fsSL https://packages.redis.io/gpg | ${sudo}gpg --dearmor -o /usr/share/keyrings/redis.gpg`,
      `echo "deb [signed-by=/usr/share/keyrings/redis.gpg] https://packages.redis.io/deb $(. /etc/os-release && echo $VERSION_CODENAME) main" | ${sudo}tee /etc/apt/sources.list.d/redis.list`,
      `${sudo}apt-get update && ${sudo}apt-get install -y ${listed('apt').replace('redis-server', 'redis')}`,
    ];
  }
  const lines = {
    'apt-get': `${sudo}apt-get update && ${sudo}apt-get install -y ${listed('apt')}`,
    brew: `brew install ${listed('brew')}`,
    dnf: `${sudo}dnf install -y ${listed('others').replace('postgresql', 'postgresql-server')}`,
    pacman: `${sudo}pacman -S ${listed('others')}`,
    zypper: `${sudo}zypper install ${listed('others').replace('postgresql', 'postgresql-server')}`,
    apk: `${sudo}apk add ${listed('others')}`,
  };
  const known = Object.keys(lines).filter((manager) => exists(manager));
  return (known.length > 0 ? known : ['apt-get', 'brew']).map((manager) => lines[manager]);
}

// The script

/**
 * Ctrl-C in a terminal reaches the script and this process, `kill` only this one. So this process forwards signals (the
 * script handles a repeated one once), and ends with the exit code of the script.
 */
function runScript(script, args) {
  const node = projectNode();
  const child = spawn(node, [script, ...args], {
    cwd: process.cwd(),
    env: { ...process.env, PATH: [BIN, process.env.PATH ?? ''].join(delimiter) },
    // The channel carries no messages. It closes when this process is killed, which stops the script.
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  if (process.env.npm_lifecycle_event) stopWithParent(child);
  child.on('error', (error) => {
    console.error(`${node} did not start: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

/** npm waits for its script. When npm or its shell is gone, it was killed, so the script must stop. */
function stopWithParent(child) {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) child.kill('SIGTERM');
  }, PARENT_CHECK_MS).unref();
}

function exists(command, env = process.env) {
  return spawnSync('sh', ['-c', `command -v ${command}`], { env, stdio: 'ignore' }).status === 0;
}

function outcome(result) {
  if (result.error) return result.error.message;
  return result.signal ? `killed by ${result.signal}` : `exit code ${result.status}`;
}

/** Prints to stderr, because stdout belongs to the script. */
function tell(text) {
  console.error(`set-up: ${text}`);
}

await main(process.argv.slice(2));
