/** A few thousand of what `npm run hostile` sends a hundred thousand of, to processes as they run in earnest. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { HostileEngine } from '../support/hostile-engine.ts';
import { createDatabase, startRedis } from '../support/servers.ts';

const SEED = Number(process.env.TEST_SEED ?? 1);
const EACH = { count: 2_000, warmUp: 1_000, seed: SEED };

let engine: HostileEngine;
const cleanUps: (() => unknown)[] = [];
before(async () => {
  const [redis, database] = await Promise.all([startRedis(), createDatabase()]);
  engine = await HostileEngine.start(
    { after: (cleanUp) => void cleanUps.push(cleanUp as () => unknown) },
    { redisUrl: redis.url, postgresUrl: database.url },
  );
  cleanUps.push(
    () => redis.stop(),
    () => database.drop(),
  );
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

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
