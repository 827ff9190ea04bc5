/** `flash-sale rehearse` says whether a deployed system is ready and why not, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSigner } from 'fast-jwt';
import { MAIN_MODULE, until, useStackHome } from '../../harness/engine/stack-process.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { contentsOf } from '../../harness/servers/contents.ts';
import { FILE, use } from '../../harness/use.ts';
import { type Rehearsal, rehearse } from '../../src/rehearse/rehearse.ts';
import { readSettings } from '../../src/rehearse/settings.ts';

const home = await useStackHome(FILE);
const ORIGIN = 'https://shop.example';
const stack = await home.start({ env: { CORS_ORIGINS: ORIGIN } }).ready();
const servers = await useConnections(FILE, stack.redisUrl, stack.postgresUrl);
const before = await contentsOf(servers);

/** A machine that is busy with other tests is slow; these tests are not about speed. */
const CROWD = { buyers: 300, units: 60, seconds: 60, loadSeconds: 1, p99Ms: 30_000 };
const ARGUMENTS = [
  '--buyers',
  '300',
  '--units',
  '60',
  '--seconds',
  '60',
  '--load-seconds',
  '1',
  '--p99-ms',
  '30000',
];
const SECRETS = { ADMIN_TOKENS: `operator:${stack.adminToken}`, JWT_SECRET: stack.jwtSecret };

interface Run {
  child: ChildProcess;
  output: { stdout: string; stderr: string };
  ended: Promise<number | null>;
}

/** The command itself, in an environment of its own. */
async function start(args: string[], env: Record<string, string> = {}): Promise<Run> {
  const child = await use(
    FILE,
    () =>
      spawn(process.execPath, [MAIN_MODULE, 'rehearse', ...args], {
        env: { PATH: process.env.PATH, FLASH_SALE_HOME: home.directory, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    (started) => started.kill('SIGKILL'),
  );
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
    });
  }
  return { child, output, ended: once(child, 'close').then(([code]) => code as number | null) };
}

/** In this process, which costs no start. */
function rehearseHere(
  env: Record<string, string> = {},
  stopping = new AbortController().signal,
  report: (line: string) => void = () => undefined,
): Promise<Rehearsal> {
  const settings = readSettings(CROWD, { ...SECRETS, ...env }, stack);
  return rehearse(settings, stopping, report);
}

const failedOf = ({ findings }: Rehearsal) =>
  findings.filter(({ verdict }) => verdict === 'failed').map(({ check }) => check);

test('a healthy system is ready; standard output is the result, without secrets; nothing remains', async () => {
  const { output, ended } = await start([...ARGUMENTS, '--json', '--origin', ORIGIN]);
  const code = await ended;
  const result = JSON.parse(output.stdout) as Rehearsal;
  assert.deepEqual(failedOf(result), [], output.stderr);
  assert.deepEqual([code, result.ready, result.removed], [0, true, true]);
  const checks = result.findings.map(({ check }) => check);
  for (const check of ['opening', 'disk of Redis', 'wins', 'refusals', 'exactly sold', 'verify']) {
    assert.ok(checks.includes(check), check);
  }
  const all = output.stdout + output.stderr;
  for (const secret of [stack.adminToken, stack.jwtSecret, 'eyJ']) {
    assert.ok(!all.includes(secret));
  }
  assert.deepEqual(await contentsOf(servers), before);
});

test('with a file of tokens, through two addresses, nobody needs the secret', async () => {
  const sign = createSigner({ key: stack.jwtSecret, algorithm: 'HS256', expiresIn: 600_000 });
  const tokens = Array.from({ length: 900 }, (_, index) => sign({ sub: `rehearsal-${index}` }));
  const file = join(home.directory, 'tokens');
  writeFileSync(file, `${tokens.join('\n')}\n`);
  const hotPathUrl = [stack.hotPathUrl, stack.hotPathUrl.replace('127.0.0.1', 'localhost')];
  const choices = { ...CROWD, hotPathUrl, tokens: file };
  const { ADMIN_TOKENS } = SECRETS;
  const ignore = () => undefined;
  const result = await rehearse(
    readSettings(choices, { ADMIN_TOKENS }, stack),
    new AbortController().signal,
    ignore,
  );
  assert.deepEqual([failedOf(result), result.ready], [[], true]);
  assert.deepEqual(await contentsOf(servers), before);
});

test('while no persister writes it is not ready, says so, and is removed all the same', async (t) => {
  const [pid] = stack.pids.persister;
  await use(
    t,
    () => process.kill(pid!, 'SIGSTOP'),
    () => process.kill(pid!, 'SIGCONT'),
  );
  const result = await rehearseHere();
  assert.equal(result.ready, false);
  const [failed] = result.findings.filter(({ verdict }) => verdict === 'failed');
  assert.equal(failed!.check, 'rows of single purchases');
  assert.match(failed!.advice!, /persister/);
  assert.deepEqual(await contentsOf(servers), before);
});

test('a killed rehearsal stops the next one, which says how to clean up; then nothing remains', async () => {
  const { child, output, ended } = await start(ARGUMENTS);
  await until('it sells', () => output.stderr.includes('Single purchases'));
  child.kill('SIGKILL');
  await ended;
  const next = await rehearseHere();
  assert.deepEqual(failedOf(next), ['leftovers']);
  assert.match(next.findings.at(-1)!.advice!, /rehearse --clean/);
  const clean = await start(['--clean']);
  assert.equal(await clean.ended, 0, clean.output.stderr);
  assert.match(clean.output.stderr, /rehearsal-\w+: removed/);
  assert.deepEqual(await contentsOf(servers), before);
});

test('Ctrl-C ends it and removes the sale', async () => {
  const { child, output, ended } = await start(ARGUMENTS);
  await until('it sells', () => output.stderr.includes('Single purchases'));
  child.kill('SIGINT');
  assert.equal(await ended, 130, output.stderr);
  assert.deepEqual(await contentsOf(servers), before);
});

test('each mistake has a reason of its own, and none leaves anything', async () => {
  const reasonFor = async (env: Record<string, string>) => {
    const { ready, findings } = await rehearseHere(env);
    assert.equal(ready, false);
    const failed = findings.find(({ verdict }) => verdict === 'failed')!;
    return `${failed.found} ${failed.advice}`;
  };
  assert.match(await reasonFor({ JWT_SECRET: 'another-secret-of-32-characters-' }), /JWT_SECRET/);
  const merchant = `operator:${stack.merchantToken}`;
  assert.match(await reasonFor({ ADMIN_TOKENS: merchant }), /viewer or merchant/);
  const unknown = 'operator:nobody-has-this-token';
  assert.match(await reasonFor({ ADMIN_TOKENS: unknown }), /does not know the token/);
  assert.deepEqual(await contentsOf(servers), before);

  const elsewhere = { ...CROWD, adminUrl: 'http://127.0.0.1:1', hotPathUrl: [stack.hotPathUrl] };
  const unreachable = await rehearse(
    readSettings(elsewhere, SECRETS, undefined),
    new AbortController().signal,
    () => undefined,
  );
  assert.match(unreachable.findings[0]!.found, /127\.0\.0\.1:1 is unreachable: \w/);

  const misused = (choices: object, env: Record<string, string>, says: RegExp) =>
    assert.throws(() => readSettings({ ...CROWD, ...choices }, env, stack), says);
  misused({}, { JWT_SECRET: stack.jwtSecret }, /ADMIN_TOKENS/);
  misused({}, { ADMIN_TOKENS: SECRETS.ADMIN_TOKENS }, /JWT_SECRET/);
  misused({ units: 301 }, SECRETS, /as many buyers as units/);
  misused({ adminUrl: 'http://me:secret@shop.example' }, SECRETS, /without a user/);
  misused({ tokens: '/no/such/file' }, SECRETS, /cannot be read/);
  const { ended, output } = await start(['--units', '0']);
  assert.equal(await ended, 2, output.stderr);
});
