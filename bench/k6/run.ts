/**
 * Runs the k6 scenarios against a private stack.
 *
 *   npm run bench:k6                          all scenarios
 *   npm run bench:k6 -- oversell ramp         only these
 *
 * Prints a table. With --write it is bench/results/k6.md, beside k6-<scenario>.json. Exits 1 when a threshold fails.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { command } from '../../harness/command/command-line.ts';
import { openCommandSession } from '../../harness/command/command-session.ts';
import { codeVersions, machine, output, serverVersions } from '../../harness/command/machine.ts';
import { keepResult, resultDirectory, WRITE_OPTION } from '../../harness/command/result-files.ts';
import { useStackHome } from '../../harness/engine/stack-process.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const SCENARIOS = ['oversell', 'idempotency', 'contention', 'ramp'] as const;
type Scenario = (typeof SCENARIOS)[number];

/** One connection per VU on each side, and some for Redis, PostgreSQL and the logs. */
const OPEN_FILES_MIN = 10_000 + 500;

/** As `handleSummary` in lib/flash-sale.js writes it. */
const resultShape = z.looseObject({
  scenario: z.string(),
  ok: z.boolean(),
  seconds: z.number(),
  purchases: z.number(),
  counts: z.record(z.string(), z.number()),
  timesMs: z.record(z.string(), z.record(z.string(), z.number())),
  thresholds: z.array(z.object({ threshold: z.string(), ok: z.boolean() })),
});
type Result = z.infer<typeof resultShape>;

interface Stack {
  stackJson: string;
  servers: { redis: string; postgres: string };
}

const program = command(
  'bench:k6',
  'Runs the k6 scenarios against a private stack. Exits 1 when a threshold fails.',
)
  .argument('[scenarios...]', `of ${SCENARIOS.join(', ')}; default: all`)
  .option(...WRITE_OPTION)
  .parse();
const scenarios = scenariosFrom(program.args);
const k6 = findK6();
warnOfFewOpenFiles();

const results: Result[] = [];
const session = openCommandSession({ reportProgress: printVerdicts });
try {
  const stack = await startStack();
  for (const scenario of scenarios) results.push(await runOne(scenario, stack));
  const directory = resultDirectory(join(REPOSITORY, 'bench/results'), program.opts());
  for (const result of results) await keepResult(directory, `k6-${result.scenario}`, result);
  const table = await tableOfAll(directory);
  await writeFile(join(directory, 'k6.md'), table);
  console.log(table);
  printVerdicts();
  if (results.some(({ ok }) => !ok)) process.exitCode = 1;
} catch (error) {
  if (!session.stopping.aborted) console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await session.close();
}

function printVerdicts(): void {
  for (const { scenario, ok } of results) console.log(`${ok ? 'ok  ' : 'FAIL'}  ${scenario}`);
}

async function runOne(scenario: Scenario, stack: Stack): Promise<Result> {
  session.step(`Running ${scenario} …`);
  const resultJson = `${stack.stackJson}.${scenario}`;
  const log = `${resultJson}.log`;
  // Errors only: k6 warns about every request without a response, which can be ten thousand lines.
  const options = ['--quiet', '--no-usage-report', '--log-output', `file=${log},level=error`];
  const child = spawn(k6, ['run', ...options, join(REPOSITORY, `bench/k6/${scenario}.js`)], {
    cwd: REPOSITORY,
    env: { ...environmentOfK6(), STACK_JSON: stack.stackJson, RESULT_JSON: resultJson },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const forward = () => child.kill('SIGTERM');
  session.stopping.addEventListener('abort', forward);
  await once(child, 'close');
  session.stopping.removeEventListener('abort', forward);
  session.stopping.throwIfAborted();
  const { exitCode } = child;
  if (exitCode !== 0 && existsSync(log)) {
    console.error((await readFile(log, 'utf8')).slice(-4000));
  }
  if (!existsSync(resultJson)) {
    throw new Error(`k6 left no result of ${scenario} (exit ${exitCode})`);
  }
  const result = resultShape.parse(JSON.parse(await readFile(resultJson, 'utf8')));
  return {
    ...result,
    ok: result.ok && exitCode === 0,
    exitCode,
    machine: machine('k6, the engine, Redis and PostgreSQL share these cores'),
    versions: { ...versions(), ...stack.servers },
  };
}

/** Without the variables that would override stack.json in the scenarios. */
function environmentOfK6(): NodeJS.ProcessEnv {
  const ofOtherStacks = ['HOT_PATH_URL', 'ADMIN_URL', 'ADMIN_TOKEN', 'JWT_SECRET'];
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !ofOtherStacks.includes(name)),
  );
}

async function startStack(): Promise<Stack> {
  session.step('Starting a private stack …');
  const home = await useStackHome(session);
  const { DURABILITY } = process.env;
  const stack = home.start({ env: DURABILITY === undefined ? {} : { DURABILITY } });
  const servers = await serverVersions(await stack.ready());
  return { stackJson: join(home.directory, 'stack.json'), servers };
}

// ---- tools and limits ----------------------------------------------------------------------------------------------

function scenariosFrom(names: string[]): Scenario[] {
  if (names.length === 0) return [...SCENARIOS];
  return names.map((name) => {
    const known = SCENARIOS.find((scenario) => scenario === name);
    if (!known) {
      console.error(`Unknown scenario "${name}". The scenarios are: ${SCENARIOS.join(', ')}.`);
      process.exit(2);
    }
    return known;
  });
}

function findK6(): string {
  const gopath = output('go', ['env', 'GOPATH']) ?? join(homedir(), 'go');
  for (const candidate of ['k6', join(gopath, 'bin/k6')]) {
    if (output(candidate, ['version']) !== undefined) return candidate;
  }
  console.error(
    [
      'k6 is not on the PATH. Install it:',
      '  go install go.k6.io/k6@latest        with Go',
      '  brew install k6                      with Homebrew',
      'or run it in a container, with the whole stack:',
      '  docker compose --profile k6 run --rm k6',
    ].join('\n'),
  );
  return process.exit(2);
}

/** k6 and Node raise their soft limit to the hard one, so the hard limit counts. */
function warnOfFewOpenFiles(): void {
  const hard = output('sh', ['-c', 'ulimit -Hn']);
  if (hard === undefined || hard === 'unlimited' || Number(hard) >= OPEN_FILES_MIN) return;
  if (!scenarios.includes('contention')) return;
  console.error(
    `Only ${hard} files may be open at once (ulimit -Hn); contention, with 10,000 VUs, needs ${OPEN_FILES_MIN}.\n` +
      'Raise it (as root: ulimit -n 65536), or run fewer: VUS=2000 STOCK=200 npm run bench:k6 -- contention.',
  );
  if (process.env.VUS === undefined) process.exit(2);
}

// ---- what was measured, where ----------------------------------------------------------------------------------------

function versions() {
  return {
    ...codeVersions(),
    k6: /v[\d.]+/.exec(output(k6, ['version']) ?? '')?.[0] ?? 'unknown',
    durability: process.env.DURABILITY ?? 'safe',
  };
}

/** Of every scenario with a result file, from this run or an earlier one; each row has its date. */
async function tableOfAll(directory: string): Promise<string> {
  const keptShape = resultShape.extend({
    machine: z.object({
      cpu: z.string(),
      cores: z.number(),
      memoryGiB: z.number(),
      kernel: z.string(),
    }),
    versions: z.record(z.string(), z.string()),
  });
  const lines = [
    '# k6 scenarios',
    '',
    'Written by `npm run bench:k6`. k6 shares the machine with everything that it measures. So the times show how',
    'long a buyer waits on a machine that also runs all buyers, not what the engine can do.',
    '',
    '| scenario | passed | purchases | created | sold out | replayed | unanswered | p50 | p99 | max | when | commit |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|',
  ];
  const notes = new Set<string>();
  for (const scenario of SCENARIOS) {
    const path = join(directory, `k6-${scenario}.json`);
    if (!existsSync(path)) continue;
    const kept = keptShape.parse(JSON.parse(await readFile(path, 'utf8')));
    const { counts, machine: on, versions: of } = kept;
    const wait = kept.timesMs['click to response'] ?? {};
    const cells = [
      scenario,
      kept.ok ? 'yes' : '**no**',
      kept.purchases,
      counts['created (201)'],
      counts['refused, sold out (409)'],
      counts['replayed (200)'],
      counts.unanswered,
      milliseconds(wait.med),
      milliseconds(wait['p(99)']),
      milliseconds(wait.max),
      of.date?.slice(0, 10),
      of.commit,
    ];
    lines.push(`| ${cells.join(' | ')} |`);
    notes.add(
      `${on.cpu}, ${on.cores} cores, ${on.memoryGiB} GiB, ${on.kernel}; Node ${of.node}, k6 ${of.k6}, ` +
        `Redis ${of.redis}, PostgreSQL ${of.postgres}; durability ${of.durability}.`,
    );
  }
  return `${[...lines, '', ...notes].join('\n')}\n`;
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(0)} ms`;
}
