import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

test('a buyer who holds and releases in a loop gets 429 with the time until when, and /me shows it', async () => {
  const { saleId } = await openSale(shards, { phone: 10, case: 1 });
  const body = { sku: 'phone' };
  const me = async () =>
    (await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' })).body as {
      tooManyHoldsUntil: string | null;
      reservations: unknown[];
      remainingAllowance: number;
    };
  let first = '';
  for (let round = 1; round <= 20; round++) {
    assert.equal((await me()).tooManyHoldsUntil, null);
    const bought = await hotPath.buy(saleId, 'ada', { key: `key-${round}`, body });
    assert.equal(bought.status, 201);
    first ||= bought.body.reservationId;
    const path = `/v1/reservations/${bought.body.reservationId}/cancel`;
    assert.equal((await hotPath.call(path, { method: 'POST', buyer: 'ada' })).status, 200);
  }
  const refused = await hotPath.buy(saleId, 'ada', { key: 'one-more', body });
  assert.deepEqual([refused.status, refused.body.code], [429, 'too_many_holds']);
  const seconds = Number(refused.headers['retry-after']);
  assert.ok(seconds > 590 && seconds <= 603, `${seconds}`);
  const { tooManyHoldsUntil, reservations, remainingAllowance } = await me();
  assert.equal(tooManyHoldsUntil, refused.body.until);
  assert.deepEqual([reservations.length, remainingAllowance], [20, 1]);

  const repeated = await hotPath.buy(saleId, 'ada', { key: 'key-1', body });
  assert.deepEqual([repeated.status, repeated.body.reservationId], [200, first]);
  assert.equal((await hotPath.buy(saleId, 'bob', { body: { sku: 'case' } })).status, 201);
  const path = `/v1/sales/${saleId}/waitlist`;
  const join = await hotPath.call(path, { method: 'POST', buyer: 'ada', body: { sku: 'case' } });
  assert.deepEqual([join.status, join.body.code], [429, 'too_many_holds']);
  assert.equal(join.body.until, refused.body.until);
});
