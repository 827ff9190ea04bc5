/**
 * Set-up installs packages when the lock file has changed, once for concurrent runs, and prints nothing when there is
 * nothing to do.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../../harness/engine/stack-process.ts';
import { use } from '../../harness/use.ts';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** The set-up script and its imports; it needs no package. */
const SET_UP_FOLDERS = ['scripts', 'src/dev/bootstrap', 'src/process/supervisor'];

function useCheckout(t: TestContext): Promise<Checkout> {
  return use(
    t,
    () => new Checkout(),
    ({ directory }) => rmSync(directory, { recursive: true, force: true }),
  );
}

/** A checkout with a fake npm that records its calls and links this Node as npm would. */
class Checkout {
  readonly directory: string;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'flash-sale-set-up-'));
    for (const folder of SET_UP_FOLDERS) {
      mkdirSync(join(this.directory, folder), { recursive: true });
      const files = readdirSync(join(REPOSITORY, folder)).filter((name) => name.endsWith('.mjs'));
      for (const file of files) {
        copyFileSync(join(REPOSITORY, folder, file), join(this.directory, folder, file));
      }
    }
    copyFileSync(join(REPOSITORY, 'package.json'), join(this.directory, 'package.json'));
    this.lockFile = '{}';
    this.npmIs('');
  }

  set lockFile(text: string) {
    writeFileSync(join(this.directory, 'package-lock.json'), text);
  }

  npmIs(behaviour: string): void {
    mkdirSync(join(this.directory, 'bin'), { recursive: true });
    const npm = join(this.directory, 'bin', 'npm');
    const lines = [
      '#!/bin/sh',
      'echo "$1" >> npm-calls',
      behaviour,
      'rm -rf node_modules; sleep 0.3; mkdir -p node_modules/.bin',
      `ln -s '${process.execPath}' node_modules/.bin/node`,
    ];
    writeFileSync(npm, lines.join('\n'));
    chmodSync(npm, 0o755);
  }

  get npmCalls(): string[] {
    const file = join(this.directory, 'npm-calls');
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  }

  async setUp(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return this.start(...args).ended;
  }

  start(...args: string[]) {
    const child = spawn(
      process.execPath,
      [join(this.directory, 'scripts', 'set-up.mjs'), ...args],
      {
        cwd: this.directory,
        env: { PATH: `${join(this.directory, 'bin')}:${process.env.PATH}` },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = once(child, 'close').then(([code]) => ({ code: code as number, stdout, stderr }));
    return { child, ended, printed: () => stdout };
  }
}

void test('packages are installed once, and again when the lock file, the modules or a patch change', async (t) => {
  const checkout = await useCheckout(t);
  assert.match((await checkout.setUp()).stderr, /installing the packages/);
  assert.deepEqual(checkout.npmCalls, ['ci']);

  assert.deepEqual(await checkout.setUp(), { code: 0, stdout: '', stderr: '' });
  assert.deepEqual(checkout.npmCalls, ['ci']);

  checkout.lockFile = '{ "changed": true }';
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci', 'ci']);

  rmSync(join(checkout.directory, 'node_modules'), { recursive: true });
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci', 'ci', 'ci']);

  mkdirSync(join(checkout.directory, 'patches'));
  writeFileSync(join(checkout.directory, 'patches', 'a-library.patch'), '');
  writeFileSync(join(checkout.directory, 'patches', 'another.patch'), 'a change');
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci', 'ci', 'ci', 'ci']);
});

void test('three concurrent runs install once, and each runs its script', async (t) => {
  const checkout = await useCheckout(t);
  const script = join(checkout.directory, 'script.ts');
  writeFileSync(
    script,
    'const words: string[] = process.argv.slice(2); console.log(words.join());',
  );
  const results = await Promise.all(
    ['a', 'b', 'c'].map((word) => checkout.setUp(script, word, '--x')),
  );
  assert.deepEqual(
    results.map(({ code, stdout }) => ({ code, stdout })),
    ['a', 'b', 'c'].map((word) => ({ code: 0, stdout: `${word},--x\n` })),
  );
  assert.deepEqual(checkout.npmCalls, ['ci']);
});

void test('the lock of a set-up that was killed is taken over', async (t) => {
  const checkout = await useCheckout(t);
  mkdirSync(join(checkout.directory, '.flash-sale'));
  writeFileSync(
    join(checkout.directory, '.flash-sale', 'set-up.lock'),
    JSON.stringify({ pid: process.pid, identity: 'an earlier one' }),
  );
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci']);
});

void test('a failed installation is one message, and is retried by the next run', async (t) => {
  const checkout = await useCheckout(t);
  checkout.npmIs('echo "npm error network" >&2; exit 1');
  const { code, stderr } = await checkout.setUp();
  assert.equal(code, 1);
  assert.match(stderr, /npm error network/);
  assert.match(stderr, /node scripts\/write-env\.mjs\n +docker compose up/);
  assert.doesNotMatch(stderr, /^\s+at /m, 'no stack trace');

  checkout.npmIs('');
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci', 'ci']);
});

void test('a lock file without the packages of this platform is replaced by an installation', async (t) => {
  const checkout = await useCheckout(t);
  checkout.npmIs('if [ "$1" = ci ]; then echo "npm error code EUSAGE" >&2; exit 1; fi');
  assert.equal((await checkout.setUp()).code, 0);
  assert.deepEqual(checkout.npmCalls, ['ci', 'install']);
});

void test('a repeated signal stops the script once, and set-up exits with its exit code', async (t) => {
  const checkout = await useCheckout(t);
  const script = join(checkout.directory, 'script.ts');
  writeFileSync(
    script,
    `let stopping = false;
     process.on('SIGTERM', () => {
       if (!stopping) setTimeout(() => { console.log('closed'); process.exit(5); }, 300);
       stopping = true;
     });
     setInterval(() => {}, 1_000);
     console.log('up');`,
  );
  const { child, ended, printed } = checkout.start(script);
  await until('the script is up', () => printed() === 'up\n');
  child.kill('SIGTERM');
  child.kill('SIGTERM');
  const { code, stdout } = await ended;
  assert.deepEqual({ code, stdout }, { code: 5, stdout: 'up\nclosed\n' });
});
