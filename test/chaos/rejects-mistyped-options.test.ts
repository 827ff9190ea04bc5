/** A command that gets a mistyped option reports it with a suggestion and exits with 2 before it starts anything. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const REPOSITORY = join(import.meta.dirname, '../..');

/** One of each kind. Programs with an option that needs a value get it without one, the others an unknown option. */
for (const [program, option] of [
  ['bench/main.ts', '--rounds'],
  ['bench/overload.ts', '--nonsense'],
  ['chaos/main.ts', '--runs'],
  ['scripts/check-manifests.ts', '--nonsense'],
  ['scripts/fuzz.ts', '--seed'],
] as const) {
  test(program, () => {
    const { status, stdout, stderr } = run(program, option);
    assert.match(stderr, new RegExp(`^error: .*${option}.*\n$`));
    assert.deepEqual({ status, stdout }, { status: 2, stdout: '' });
  });
}

for (const [what, typed, message] of [
  ['an option', ['bench/hostile.ts', '--sed', '1'], /Did you mean --seed\?/],
  ['a scenario', ['bench/main.ts', '--only', 'refusl'], /'refusl' is invalid.* refusal,/],
  ['a command of flash-sale', ['src/main.ts', 'verfy'], /Did you mean verify\?/],
  ['its option', ['src/main.ts', 'demo', '--buyer', '1'], /Did you mean --buyers\?/],
  ['its value', ['src/main.ts', 'demo', '--buyers', 'ten'], /whole number/],
] as const) {
  test(`${what}, mistyped`, () => {
    const { status, stdout, stderr } = run(...typed);
    assert.match(stderr, message);
    assert.deepEqual({ status, stdout }, { status: 2, stdout: '' });
  });
}

test('the test runner prints its usage and starts nothing', () => {
  const { status, stdout } = run('test/run.ts', '--help');
  assert.equal(status, 0);
  assert.match(stdout, /^Usage: npm test -- /);
});

function run(...args: string[]) {
  const options = { cwd: REPOSITORY, encoding: 'utf8', timeout: 20_000 } as const;
  return spawnSync(process.execPath, args, options);
}
