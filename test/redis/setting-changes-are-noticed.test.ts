/** `safe` means synced, also after an operator changes Redis at run time: then no buyer gets a reservation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis, withRedis } from '../../harness/servers/redis.ts';
import { useReplicated } from '../../harness/servers/replication.ts';

/** The longest interval between two checks, and one reconnect. The rest is for a busy machine. */
const NOTICED_MS_MAX = 10_000;

test('safe: a setting that breaks the promise is noticed within seconds, and its correction too', async (t) => {
  const redis = await useRedis(t);
  const shards = await useShards(t, redis.url);
  const hotPath = await useHotPath(t, redis.url, { DURABILITY: 'safe' });
  const sale = await openSale(shards, { phone: 1_000 });
  let buyers = 0;
  const buy = () => hotPath.buy(sale.saleId, `buyer-${++buyers}`);
  assert.equal((await buy()).status, 201);

  const changes = [
    ['appendfsync', 'everysec', 'always'],
    ['no-appendfsync-on-rewrite', 'yes', 'no'],
    ['appendonly', 'no', 'yes'],
  ] as const;
  for (const [index, [name, wrong, right]] of changes.entries()) {
    await withRedis(redis.url, (one) => one.config('SET', name, wrong));
    const changedAt = performance.now();
    await eventually(async () => assert.equal((await buy()).body.code, 'unavailable', name));
    assert.ok(performance.now() - changedAt < NOTICED_MS_MAX, name);
    await eventually(async () => {
      const { status, body } = await hotPath.call('/readyz');
      assert.deepEqual([status, body.missing], [503, ['redis']]);
      assert.match(String(body.reasons), new RegExp(`${name} is ${wrong}.*set ${name} ${right}`));
    });
    assert.equal((await buy()).body.code, 'unavailable');
    assert.equal(await hotPath.metric('flash_sale_redis_unfit_total'), index + 1);
    await withRedis(redis.url, (one) => one.config('SET', name, right));
    await eventually(async () => assert.equal((await buy()).status, 201, name));
    assert.equal((await hotPath.call('/readyz')).status, 200);
  }
});

test('replicated: a replica that would not persist what it confirms stops the sale', async (t) => {
  const { master, replicas } = await useReplicated(t);
  const shards = await useShards(t, master.url);
  const hotPath = await useHotPath(t, master.url, { DURABILITY: 'replicated' });
  const sale = await openSale(shards, { phone: 10 });
  assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
  await withRedis(replicas[0]!.url, (one) => one.config('SET', 'appendonly', 'no'));
  await eventually(async () => {
    assert.equal((await hotPath.buy(sale.saleId, 'ada')).body.code, 'unavailable');
    const { body } = await hotPath.call('/readyz');
    assert.match(String(body.reasons), /on its replica 127\.0\.0\.1:\d+, appendonly is no/);
  });
  await withRedis(replicas[0]!.url, (one) => one.config('SET', 'appendonly', 'yes'));
  await eventually(async () => assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 200));
});
