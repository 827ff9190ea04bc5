/**
 * The runner behind `npm test`: it starts one PostgreSQL with a template database, then Node's test runner with the
 * given folders, files and options of `node --test`. It leaves nothing running.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { shareCode } from '../harness/engine/shared-code.ts';
import { LONG_RUN_VARIABLE } from '../harness/long-run.ts';
import { POSTGRES_VARIABLE, startSharedPostgres } from '../harness/servers/postgres.ts';
import { killRecordedProcesses, RECORDS_VARIABLE } from '../harness/servers/process-records.ts';

const SEED_VARIABLE = 'TEST_SEED';
const LONG_OPTION = '--long';
/** Ends a test, or a whole file, that hangs. Long runs take minutes, and so do files on a slow machine. */
const TEST_TIMEOUT_MS = 900_000;

const HELP = `Usage: npm test -- [folders, files, options of node --test]

Sets up, starts a PostgreSQL for all tests, and runs all of them or the named ones:
  npm test -- test/persister
  npm test -- test/hot-path/never-oversells.test.ts
  npm test -- test/lua --test-name-pattern=batch
  npm test -- --long                repeats random choices, kills and large numbers more often
  ${SEED_VARIABLE}=7 npm test                repeats the random choices of this seed
`;

if (['--help', '-h'].some((option) => process.argv.includes(option))) {
  process.stdout.write(HELP);
  process.exit(0);
}

const stopping = new AbortController();
let child: ChildProcess | undefined;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
// The supervisor's channel closes when it is killed.
if (process.connected) process.once('disconnect', stop);

// All temporary files go here, also those of a killed test. PostgreSQL's user must be able to enter.
const temporary = mkdtempSync(join(tmpdir(), 'flash-sale-test-run-'));
chmodSync(temporary, 0o755);
process.env.TMPDIR = temporary;
const records = join(temporary, 'records');
mkdirSync(records);
process.env[RECORDS_VARIABLE] = records;
if (process.argv.includes(LONG_OPTION)) process.env[LONG_RUN_VARIABLE] = '1';
// uWebSockets.js reads it when it is loaded. The hot path sets it to the default of REQUEST_HEAD_BYTES_MAX.
process.env.UWS_HTTP_MAX_HEADERS_SIZE = '16384';
shareCode(join(temporary, 'code'));
let code = 1;
try {
  code = await run();
} finally {
  const left = killRecordedProcesses(records);
  if (left > 0) {
    console.error(`${left} process(es) were left running by a test and have been killed.`);
    code ||= 1;
  }
  rmSync(temporary, { recursive: true, force: true, maxRetries: 10 });
}
process.exit(stopping.signal.aborted ? 130 : code);

async function run(): Promise<number> {
  const { url, server } = await startSharedPostgres();
  try {
    const seed = process.env[SEED_VARIABLE] ?? String(randomInt(2 ** 31));
    const again = process.argv.slice(2).join(' ');
    console.log(
      `seed ${seed}; repeat with ${SEED_VARIABLE}=${seed} npm test${again === '' ? '' : ` -- ${again}`}`,
    );
    return stopping.signal.aborted ? 130 : await runTests(url, seed);
  } finally {
    await server.stop();
  }
}

function runTests(postgresUrl: string, seed: string): Promise<number> {
  const typed = process.argv.slice(2).filter((argument) => argument !== LONG_OPTION);
  const options = typed.filter((argument) => argument.startsWith('-'));
  const files = typed.filter((argument) => !argument.startsWith('-')).map(patternOf);
  child = spawn(
    process.execPath,
    [
      '--test',
      // Three files for two cores: tests wait for a third of their time.
      '--test-concurrency=3',
      '--test-reporter=spec',
      `--test-timeout=${TEST_TIMEOUT_MS}`,
      ...options,
      ...(files.length > 0 ? files : ['test/**/*.test.ts']),
    ],
    {
      stdio: 'inherit',
      env: { ...process.env, [POSTGRES_VARIABLE]: postgresUrl, [SEED_VARIABLE]: seed },
    },
  );
  return new Promise((resolve) => {
    child?.once('error', (error) => {
      console.error(error);
      resolve(1);
    });
    child?.once('exit', (status) => resolve(status ?? 1));
  });
}

/** A folder means the tests in it. */
function patternOf(path: string): string {
  const isFolder = existsSync(path) && statSync(path).isDirectory();
  return isFolder ? join(path, '**/*.test.ts') : path;
}

function stop(): void {
  stopping.abort();
  child?.kill('SIGTERM');
}
