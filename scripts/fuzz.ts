/**
 * Runs Schemathesis against both APIs: it generates valid and invalid requests from the OpenAPI document and fails on a
 * server error or an undocumented response.
 *
 *   npm run fuzz                                    the same seed each time
 *   npm run fuzz -- --seed 7 --examples 500
 *
 * Installs Schemathesis in a virtual environment and starts its own Redis, PostgreSQL and processes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { installPythonTools } from '../harness/command/python-tool.ts';
import { useHostileEngine } from '../harness/hostile/hostile-engine.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';

const SCHEMATHESIS_VERSION = '4.32.5';
const DIRECTORY = join(import.meta.dirname, '../.flash-sale/fuzz');
const DOCUMENT = join(DIRECTORY, 'openapi.json');

/** Fails on 422 for values that a schema cannot exclude, such as an unknown cursor, currency or time. */
const CHECKS_LEFT_OUT = 'positive_data_acceptance';

const { seed, examples } = command(
  'fuzz',
  'Send both APIs requests that are generated from the OpenAPI document.',
)
  .option('--seed <number>', 'of the generated requests', wholeNumber, 1)
  .option('--examples <count>', 'of each kind of request, for each operation', wholeNumber, 100)
  .parse()
  .opts<{ seed: number; examples: number }>();

const schemathesis = join(
  installPythonTools('fuzz', [`schemathesis==${SCHEMATHESIS_VERSION}`]),
  'schemathesis',
);
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
    // OpenAPI cannot describe a WebSocket.
    { url: engine.hotPath.url, paths: '^/v1/(?!.*/live$)', token: engine.buyerToken },
    {
      url: engine.admin.url,
      paths: '^/(admin/|session|healthz|readyz|metrics)',
      token: engine.operatorToken,
    },
  ];
  for (const api of apis) {
    if (!(await fuzz(api))) process.exitCode = 1;
    session.stopping.throwIfAborted();
  }
  for (const error of engine.errors) {
    console.error(error);
    process.exitCode = 1;
  }
} finally {
  await session.close();
}

/** Returns false when Schemathesis found a failure, which it has printed. */
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
