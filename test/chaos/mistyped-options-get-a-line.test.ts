/** Whoever mistypes an option of a bench or of the suite is told so in one line, before anything has started. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const REPOSITORY = join(import.meta.dirname, '../..');

for (const [program, valued] of [
  ['bench/durability.ts', '--kills'],
  ['bench/expiry.ts', undefined],
  ['bench/hostile.ts', '--seed'],
  ['bench/k6/run.ts', undefined],
  ['bench/live.ts', '--pairs'],
  ['bench/overload.ts', undefined],
  ['chaos/main.ts', '--runs'],
  ['chaos/variants-main.ts', undefined],
] as const) {
  test(program, () => {
    for (const option of ['--nonsense', ...(valued ? [valued] : [])]) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [program, option], {
        cwd: REPOSITORY,
        encoding: 'utf8',
        timeout: 20_000,
      });
      assert.match(stderr, new RegExp(`^error: .*${option}.*\n$`));
      assert.deepEqual({ status, stdout }, { status: 2, stdout: '' });
    }
  });
}
