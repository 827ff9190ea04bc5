/**
 * Has Schemathesis ask both APIs for what the OpenAPI document describes, and for what it forbids: no answer may be a
 * server error, or other than documented.
 *
 *   npm run fuzz                       by the same seed each time
 *   SEED=7 EXAMPLES=500 npm run fuzz
 *
 * Installs Schemathesis in a virtual environment of its own under .fuzz/ and starts servers and processes of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HostileEngine } from '../test/support/hostile-engine.ts';
import { startPostgres, startRedis } from '../test/support/servers.ts';

const SCHEMATHESIS_VERSION = '4.32.5';
const SEED = process.env.SEED ?? '1';
/** Requests of each way of asking, for each operation. */
const EXAMPLES = process.env.EXAMPLES ?? '100';
const DIRECTORY = join(import.meta.dirname, '../.fuzz');
const DOCUMENT = join(DIRECTORY, 'openapi.json');

/** A cursor, a currency, a time that is none: what a schema can not say is refused with 422, as documented. */
const CHECKS_LEFT_OUT = 'positive_data_acceptance';

const schemathesis = installSchemathesis();
const cleanUps: (() => unknown)[] = [];
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
try {
  const engine = await HostileEngine.start(
    { after: (cleanUp) => void cleanUps.push(cleanUp as () => unknown) },
    { redisUrl: redis.url, postgresUrl: postgres.url },
    { BUYER_REQUESTS_PER_SECOND: '0' },
  );
  await mkdir(DIRECTORY, { recursive: true });
  await writeFile(DOCUMENT, await (await fetch(`${engine.admin.url}/openapi.json`)).text());
  const apis = [
    // What opens a WebSocket is no request and answer.
    { url: engine.hotPath.url, paths: '^/v1/(?!.*/live$)', token: engine.buyerToken },
    {
      url: engine.admin.url,
      paths: '^/(admin/|healthz|readyz|metrics)',
      token: engine.operatorToken,
    },
  ];
  for (const api of apis) if (!(await fuzz(api))) process.exitCode = 1;
  for (const complaint of engine.complaints) {
    console.error(complaint);
    process.exitCode = 1;
  }
} finally {
  for (const cleanUp of cleanUps) await cleanUp();
  await Promise.all([redis.stop(), postgres.stop()]);
}

/** False: it found something, and has said what. */
async function fuzz(api: { url: string; paths: string; token: string }): Promise<boolean> {
  const child = spawn(
    schemathesis,
    [
      'run',
      DOCUMENT,
      `--url=${api.url}`,
      `--include-path-regex=${api.paths}`,
      `--header=Authorization: Bearer ${api.token}`,
      '--checks=all',
      `--exclude-checks=${CHECKS_LEFT_OUT}`,
      '--phases=examples,coverage,fuzzing',
      `--seed=${SEED}`,
      `--max-examples=${EXAMPLES}`,
      '--continue-on-failure',
      '--warnings=off',
    ],
    { cwd: DIRECTORY, stdio: 'inherit' },
  );
  const [code] = await once(child, 'exit');
  return code === 0;
}

/** Its command; installs it where this version is not there yet. Ends the process where that can't be done. */
function installSchemathesis(): string {
  const environment = join(DIRECTORY, `schemathesis-${SCHEMATHESIS_VERSION}`);
  const command = join(environment, 'bin/schemathesis');
  if (existsSync(command)) return command;
  console.error(`Installing Schemathesis ${SCHEMATHESIS_VERSION} into ${environment} …`);
  const isInstalled =
    run('python3', ['-m', 'venv', '--clear', environment]) &&
    run(join(environment, 'bin/pip'), [
      'install',
      '--quiet',
      '--disable-pip-version-check',
      `schemathesis==${SCHEMATHESIS_VERSION}`,
    ]);
  if (isInstalled && existsSync(command)) return command;
  console.error(
    [
      'Schemathesis could not be installed. It wants Python 3.10 or newer with venv and pip:',
      '  sudo apt-get install python3 python3-venv     on Debian or Ubuntu',
      '  brew install python                           with Homebrew',
      'and a package index that pip can reach. `npm test` fuzzes without it, only less.',
    ].join('\n'),
  );
  return process.exit(2);
}

function run(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}
