/**
 * Has Schemathesis ask both APIs for what the OpenAPI document describes, and for what it forbids: no answer may be a
 * server error, or other than documented.
 *
 *   npm run fuzz                                    by the same seed each time
 *   npm run fuzz -- --seed 7 --examples 500
 *
 * Installs Schemathesis in a virtual environment of its own under .fuzz/ and starts servers and processes of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { useHostileEngine } from '../harness/hostile/hostile-engine.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';

const SCHEMATHESIS_VERSION = '4.32.5';
const DIRECTORY = join(import.meta.dirname, '../.fuzz');
const DOCUMENT = join(DIRECTORY, 'openapi.json');

/** A cursor, a currency, a time that is none: what a schema can not say is refused with 422, as documented. */
const CHECKS_LEFT_OUT = 'positive_data_acceptance';

const { seed, examples } = command(
  'fuzz',
  'Asks both APIs for what OpenAPI describes, and forbids.',
)
  .option('--seed <number>', 'that draws the requests', wholeNumber, 1)
  .option('--examples <count>', 'of each way of asking, for each operation', wholeNumber, 100)
  .parse()
  .opts<{ seed: number; examples: number }>();

const schemathesis = installSchemathesis();
const session = openCommandSession();
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
session.after(() => Promise.all([redis.stop(), postgres.stop()]));
try {
  const engine = await useHostileEngine(
    session,
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
  for (const api of apis) {
    if (!(await fuzz(api))) process.exitCode = 1;
    session.stopping.throwIfAborted();
  }
  for (const complaint of engine.complaints) {
    console.error(complaint);
    process.exitCode = 1;
  }
} finally {
  await session.close();
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
      `--seed=${seed}`,
      `--max-examples=${examples}`,
      '--continue-on-failure',
      '--warnings=off',
    ],
    { cwd: DIRECTORY, stdio: 'inherit' },
  );
  const ended = once(child, 'exit');
  session.after(async () => {
    child.kill();
    await ended;
  });
  const [code] = await ended;
  return code === 0;
}

/** Its command; installs it where this version is not there yet. Ends the process where that can't be done. */
function installSchemathesis(): string {
  const environment = join(DIRECTORY, `schemathesis-${SCHEMATHESIS_VERSION}`);
  const installed = join(environment, 'bin/schemathesis');
  if (existsSync(installed)) return installed;
  console.error(`Installing Schemathesis ${SCHEMATHESIS_VERSION} into ${environment} …`);
  const isInstalled =
    run('python3', ['-m', 'venv', '--clear', environment]) &&
    run(join(environment, 'bin/pip'), [
      'install',
      '--quiet',
      '--disable-pip-version-check',
      `schemathesis==${SCHEMATHESIS_VERSION}`,
    ]);
  if (isInstalled && existsSync(installed)) return installed;
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

function run(tool: string, args: string[]): boolean {
  return spawnSync(tool, args, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}
