/**
 * A master that is cut off together with some of its clients continues to decide until it misses its replicas. Before a
 * sale opens on the promoted server, the engine must wait for that long.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Redis } from 'ioredis';
import { eventually } from '../../harness/eventually.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { follow, promote, useReplicated } from '../../harness/servers/replication.ts';
import { usePause } from '../../harness/servers/server-process.ts';

const REPLICATED = { requirements: { DURABILITY: 'replicated', NODE_ENV: 'production' } } as const;
const MAX_LAG_SECONDS = 1;
const RIVAL_MS_MAX = MAX_LAG_SECONDS * 1_000 + 2_000;

test('the old master stops writing within the grace period after a promotion', async (t) => {
  const replicated = await useReplicated(t, {
    maxLagSeconds: MAX_LAG_SECONDS,
    replicas: 2,
    demanded: 2,
  });
  const { master } = replicated;
  const [promoted, silent] = replicated.replicas as [TestRedis, TestRedis];

  const before = await useShards(t, master.url, REPLICATED);
  assert.equal(before.of('any').pin().oldMasterGraceMs, 0, 'it was never promoted');

  // To its master, a frozen replica looks like one that is cut off: the connection stays open.
  await usePause(t, silent);
  const startedAt = performance.now();
  let acceptedAt = startedAt;
  await withRedis(master.url, (redis) =>
    eventually(async () => {
      const sentAt = performance.now();
      const write = async () => {
        await redis.set('any', '');
        acceptedAt = sentAt;
      };
      await assert.rejects(write, /^ReplyError: NOREPLICAS/);
    }),
  );
  const wroteMs = acceptedAt - startedAt;
  t.diagnostic(`last wrote after ${Math.round(wroteMs)} ms, waited for ${RIVAL_MS_MAX} ms`);
  assert.ok(wroteMs < RIVAL_MS_MAX);

  await promote(promoted);
  const after = await useShards(t, promoted.url, REPLICATED);
  const { oldMasterGraceMs } = after.of('any').pin();
  assert.ok(
    oldMasterGraceMs > MAX_LAG_SECONDS * 1_000 && oldMasterGraceMs <= RIVAL_MS_MAX,
    `${oldMasterGraceMs} ms`,
  );
  // A new connection does not restart the wait.
  after.of('any').client.disconnect(true);
  await eventually(() => assert.equal(after.isReady, false));
  await eventually(() => assert.ok(after.isReady));
  assert.ok(after.of('any').pin().oldMasterGraceMs < oldMasterGraceMs);
  await eventually(() => assert.equal(after.of('any').pin().oldMasterGraceMs, 0));
});

test('an old master that follows the promoted server is known to decide nothing', async (t) => {
  const replicated = await useReplicated(t, { replicas: 2, demanded: 1 });
  const { master } = replicated;
  const [promoted, frozen] = replicated.replicas as [TestRedis, TestRedis];
  const oldId = await withRedis(master.url, runIdOf);
  const frozenId = await withRedis(frozen.url, runIdOf);

  await promote(promoted);
  const server = (await useShards(t, promoted.url, REPLICATED)).of('any').pin();
  assert.ok(server.oldMasterGraceMs > 0);
  assert.equal(await server.isFollowedBy(oldId), false, 'it is still a master');

  await follow(master, promoted);
  await follow(frozen, promoted);
  await eventually(async () => {
    assert.equal(await server.isFollowedBy(oldId), true);
    assert.equal(await server.isFollowedBy(frozenId), true);
  });
  assert.equal(await server.isFollowedBy('another-server'), false);

  await usePause(t, frozen);
  assert.equal(await server.isFollowedBy(frozenId), false, 'it does not reply');
  // A server that replies late is not known to follow.
  await eventually(async () => assert.equal(await server.isFollowedBy(oldId), true));
});

async function runIdOf(redis: Redis): Promise<string> {
  return /^run_id:(\w+)/m.exec(await redis.info('server'))![1]!;
}
