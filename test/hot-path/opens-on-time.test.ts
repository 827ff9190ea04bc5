/**
 * A sale opens at its start on all hot paths at once, by Redis' clock. The own clocks of two of the three processes are
 * wrong by minutes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchOpening } from '../../harness/crowds/opening-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { JWT_SECRET } from '../../harness/engine/hot-path.ts';
import { wrongClock } from '../../harness/engine/wrong-clock.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';

const MINUTE_MS = 60_000;

test('every process sells within 50 ms of the start, none before it, and tells its watchers', async (t) => {
  const redis = await useRedisWithIdentity(t);
  const shards = await useShards(t, redis.url);
  const hotPaths = await Promise.all(
    [0, 7 * MINUTE_MS, -7 * MINUTE_MS].map((wrongMs) =>
      useEngineProcess(t, 'hot-path', {
        REDIS_URL: redis.url,
        JWT_SECRET,
        ...wrongClock(wrongMs),
      }),
    ),
  );
  for (const hotPath of hotPaths) await hotPath.untilReady();
  const startsAt = Date.now() + 1_800;
  const { saleId } = await openSale(shards, { phone: 100_000 }, { startsAt });
  const openings = await watchOpening(hotPaths, {
    saleId,
    startsAt,
    buyers: 2,
    pauseMs: 4,
    watchers: 3,
    untilMs: 600,
  });
  const report = JSON.stringify(openings, undefined, 1);
  for (const opening of openings) {
    const { firstReservedMs, firstWatcherMs, lastWatcherMs, longestPauseMs } = opening;
    assert.ok(firstReservedMs >= 0 && firstWatcherMs >= 0, `too early: ${report}`);
    assert.ok(opening.lastRefusedMs <= 50, `still refused: ${report}`);
    // Other work on this machine delays the first purchase and the messages as well.
    assert.ok(firstReservedMs <= 50 + longestPauseMs, `sold late: ${report}`);
    assert.ok(lastWatcherMs <= 500 + 8 * longestPauseMs, `told late: ${report}`);
    assert.ok(opening.serverTimeErrorMs <= 50 + longestPauseMs, `wrong serverTime: ${report}`);
  }
});
