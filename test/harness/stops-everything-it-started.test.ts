import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAlive } from '../../harness/engine/stack-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { killRecordedProcesses, RECORDS_VARIABLE } from '../../harness/servers/process-records.ts';
import { type Scope, use } from '../../harness/use.ts';

const moduleOf = (path: string) => new URL(`../../harness/${path}`, import.meta.url).href;
const USE_MODULE = moduleOf('use.ts');

/** A scope that ends when the test calls `end`. */
function scope(): Scope & { end(): Promise<void> } {
  const hooks: (() => unknown)[] = [];
  return {
    after: (hook) => void hooks.push(hook),
    end: async () => {
      for (const hook of hooks) await hook();
    },
  };
}

test('everything is stopped in reverse order, and a failure to stop is reported', async () => {
  const undone: string[] = [];
  const one = scope();
  for (const name of ['redis', 'database', 'admin']) {
    await use(
      one,
      () => name,
      (started) => {
        undone.push(started);
        if (started === 'database') throw new Error('it is in use');
      },
    );
  }
  await assert.rejects(one.end(), (error: AggregateError) => {
    assert.deepEqual(error.errors.map(String), ['Error: it is in use']);
    return true;
  });
  assert.deepEqual(undone, ['admin', 'database', 'redis']);
});

test('a file whose start fails exits with the reason, after everything else was stopped', async () => {
  const program = `
    import { test } from 'node:test';
    import { FILE, use } from ${JSON.stringify(USE_MODULE)};
    const started = (name) => use(FILE, () => setInterval(() => {}, 1_000), (timer) => {
      clearInterval(timer);
      console.log('undone:', name);
    });
    await started('redis');
    await started('database');
    const admin = await use(FILE, () => Promise.reject(new Error('the port is taken')), (it) => it.close());
    test('never begins', () => admin.ask());`;
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const [error, stdout, stderr] = await new Promise<[Error | null, string, string]>((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { env, timeout: 30_000 },
      (...ended) => resolve(ended),
    );
  });
  // Any code: a file that hangs is killed, and has none.
  assert.equal(typeof (error as { code?: unknown } | null)?.code, 'number', stderr);
  assert.deepEqual(stdout.match(/undone: \w+/g), ['undone: database', 'undone: redis']);
  assert.match(stderr, /the port is taken/);
});

test('the runner ends every process of a test that was killed, frozen ones too', async (t) => {
  const records = await use(
    t,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-records-')),
    (path) => rmSync(path, { recursive: true }),
  );
  // The stack's command is a process with a child that outlives it, as Redis does.
  const program = `
    import { EngineProcess } from ${JSON.stringify(moduleOf('engine/engine-process.ts'))};
    import { StackProcess } from ${JSON.stringify(moduleOf('engine/stack-process.ts'))};
    const engine = new EngineProcess('persister', 0, {});
    process.kill(engine.pid, 'SIGSTOP');
    const server = "require('node:child_process').spawn('sleep', ['60'], { detached: true })";
    const command = ['--eval', \`console.log(\${server}.pid); setInterval(() => {}, 1_000);\`];
    const stack = new StackProcess('/nowhere', { command });
    stack.child.stdout.once('data', () => console.log(engine.pid, stack.pid, stack.stdout.trim()));`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    env: { PATH: process.env.PATH, [RECORDS_VARIABLE]: records },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const pids = String(line).trim().split(' ').map(Number);
  assert.equal(pids.length, 3, String(line));
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  assert.deepEqual(pids.map(isAlive), [true, true, true]);
  assert.equal(killRecordedProcesses(records), 2);
  await eventually(() => assert.deepEqual(pids.filter(isAlive), []));
});
