import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { type Scope, use } from '../../harness/use.ts';

const USE_MODULE = new URL('../../harness/use.ts', import.meta.url).href;

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
