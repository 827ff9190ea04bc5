/** A few thousand of what `npm run hostile` sends a hundred thousand of, to processes as they run in earnest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHostileEngine } from '../../harness/hostile/hostile-engine.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const SEED = Number(process.env.TEST_SEED ?? 1);
const EACH = { count: 2_000, warmUp: 1_000, seed: SEED };

const { redis, database } = await useServers(FILE);
const engine = await useHostileEngine(FILE, { redisUrl: redis.url, postgresUrl: database.url });

for (const name of ['hotPath', 'admin'] as const) {
  test(`${name} answers or ignores them, complains of nothing and keeps its size`, async () => {
    const { faults, hasGrown, memory } = await engine.attack(name, EACH);
    assert.deepEqual(faults, []);
    assert.deepEqual(engine.complaints, []);
    assert.ok(!hasGrown, JSON.stringify(memory));
  });
}

test('afterwards it sells, and the books are right', async () => {
  assert.ok(await engine.promisesHold());
});
