/** A short form of `npm run hostile`: some thousand hostile requests to a hot path and an admin as child processes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHostileEngine } from '../../harness/hostile/hostile-engine.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const SEED = Number(process.env.TEST_SEED ?? 1);
const EACH = { count: 1_200, warmUp: 600, seed: SEED };

const { redis, database } = await useServers(FILE);
const engine = await useHostileEngine(FILE, { redisUrl: redis.url, postgresUrl: database.url });

for (const name of ['hotPath', 'admin'] as const) {
  test(`${name} returns no fault, logs no error and does not grow`, async () => {
    const { faults, hasGrown, memory } = await engine.attack(name, EACH);
    assert.deepEqual(faults, []);
    assert.deepEqual(engine.errors, []);
    assert.ok(!hasGrown, JSON.stringify(memory));
  });
}

test('afterwards it sells, and every promise holds', async () => {
  assert.ok(await engine.promisesHold());
});
