/**
 * A master that was cut off together with some of its clients goes on deciding until it misses its replicas. Whoever
 * opens a sale on the one that was promoted instead has to know how long that may last.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { promote, startReplicated } from '../../harness/servers/replication.ts';
import { createLogger } from '../../src/process/logger.ts';
import { Shards } from '../../src/redis/shards.ts';

const MAX_LAG_SECONDS = 1;
const RIVAL_MS_MAX = MAX_LAG_SECONDS * 1_000 + 2_000;

test('so long after a promotion the old master has stopped writing', async (t) => {
  const replicated = await startReplicated({
    maxLagSeconds: MAX_LAG_SECONDS,
    replicas: 2,
    demanded: 2,
  });
  t.after(() => replicated.stop());
  const { master } = replicated;
  const [promoted, silent] = replicated.replicas as [TestRedis, TestRedis];

  const before = await connect(master);
  t.after(() => before.close());
  assert.equal(before.of('any').pin().oldMasterGraceMs, 0, 'it was never promoted');

  // To its master, a replica that stands still looks like one that is cut off: the connection is there.
  silent.pause();
  const startedAt = performance.now();
  await withRedis(master.url, (redis) =>
    eventually(() => assert.rejects(redis.set('any', ''), /^ReplyError: NOREPLICAS/)),
  );
  const silentMs = performance.now() - startedAt;
  t.diagnostic(`silent after ${Math.round(silentMs)} ms, waited for ${RIVAL_MS_MAX} ms`);
  assert.ok(silentMs < RIVAL_MS_MAX);

  await promote(promoted);
  const after = await connect(promoted);
  t.after(() => after.close());
  const { oldMasterGraceMs } = after.of('any').pin();
  assert.ok(
    oldMasterGraceMs > MAX_LAG_SECONDS * 1_000 && oldMasterGraceMs <= RIVAL_MS_MAX,
    `${oldMasterGraceMs} ms`,
  );
  // A connection that is made anew does not start the wait again.
  after.of('any').client.disconnect(true);
  await eventually(() => assert.equal(after.isReady, false));
  await eventually(() => assert.ok(after.isReady));
  assert.ok(after.of('any').pin().oldMasterGraceMs < oldMasterGraceMs);
  await eventually(() => assert.equal(after.of('any').pin().oldMasterGraceMs, 0));
});

async function connect({ url }: TestRedis): Promise<Shards> {
  const shards = new Shards({
    url,
    name: 'test',
    commandTimeoutMs: 1_000,
    requirements: { DURABILITY: 'replicated', NODE_ENV: 'production' },
    log: createLogger('test', 'silent'),
    onUnfit: (fault) => {
      throw fault;
    },
  });
  await eventually(() => assert.ok(shards.isReady));
  return shards;
}
