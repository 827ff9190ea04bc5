/** Redis compiles every script. It refuses one with more than 200 local names, which no other check notices. */
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { useRedis, withRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import type { Script } from '../../src/lua/script.ts';

const LUA = join(import.meta.dirname, '../../src/lua');
const redis = await useRedis(FILE);

const paths = globSync('*/*.lua', { cwd: LUA }).filter((path) => !path.startsWith('parts/'));

for (const path of paths) {
  test(path, async () => {
    const exported = (await import(join(LUA, path.replace(/lua$/, 'ts')))) as object;
    const script = Object.values(exported).find(isScript);
    assert.ok(script, 'its TypeScript exports no script');
    await withRedis(redis.url, async (client) => {
      assert.equal(await client.script('LOAD', script.source), script.sha1);
    });
  });
}

test('no script is forgotten', () => assert.ok(paths.length > 20, `${paths.length} scripts`));

function isScript(value: unknown): value is Script<never, unknown> {
  return typeof value === 'object' && value !== null && 'sha1' in value && 'source' in value;
}
