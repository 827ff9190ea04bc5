import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { use } from '../../harness/use.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';

const MINUTE_MS = 60_000;

test('a process whose clock jumps opens no sale, closes none and expires no hold', async (t) => {
  const now = await use(
    t,
    () => Date.now,
    (original) => {
      Date.now = original;
    },
  );
  const redis = await useRedis(t);
  const shards = await useShards(t, redis.url);
  const hotPath = await useHotPath(t, redis.url);
  const soon = now() + 10 * MINUTE_MS;
  const early = await openSale(shards, { phone: 1 }, { startsAt: soon });
  const late = await openSale(shards, { phone: 9 }, { endsAt: soon, holdSeconds: 300 });

  for (const jumpMs of [45 * MINUTE_MS, -45 * MINUTE_MS]) {
    Date.now = () => now() + jumpMs;
    const buyer = `ada-${jumpMs}`;
    assert.equal((await hotPath.buy(early.saleId, buyer)).body.code, 'sale_not_started');
    const won = await hotPath.buy(late.saleId, buyer);
    assert.equal(won.status, 201);
    assert.ok(Math.abs(Date.parse(won.body.reservedAt) - now()) < 5_000);
    const { body } = await hotPath.call(`/v1/sales/${late.saleId}`);
    assert.equal(body.status, 'open');
    assert.ok(Math.abs(Date.parse(body.serverTime) - now()) < 5_000);
    const swept = await shards.call(sweep, late.saleId, { most: 100, tag: 'sweeptag' });
    assert.equal(swept.outcome === 'swept' && swept.expired, 0);
  }
  assert.equal((await late.state()).stock[0]!.held, 2);
});
