/**
 * A master that was replaced and becomes master again has the run id that the sale was opened on, but no longer all its
 * decisions. A request to its successor in between must close the sale until recovery.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buy } from '../../harness/sales/purchases.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';
import {
  follow,
  promote,
  untilReplicasAre,
  useReplicated,
} from '../../harness/servers/replication.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

test('a sale stays closed when its first master returns before recovery has checked it', async (t) => {
  const redis = await useReplicated(t, { demanded: 0 });
  const [first, second] = [redis.master, redis.replicas[0]!];
  const original = await useShards(t, first.url);
  const sale = await openSale(original, { unit: 10 });
  await untilReplicasAre(first, 1);

  await handOver(first, second);
  const successor = await useShards(t, second.url);
  assert.equal((await buy(successor, sale.saleId, ['ada']))[0]?.outcome, 'recovering');

  await handOver(second, first);
  const again = await useShards(t, first.url);
  assert.equal((await buy(again, sale.saleId, ['bob']))[0]?.outcome, 'recovering');
  assert.equal((await again.call(readSale, sale.saleId)).outcome, 'recovering');
});

async function handOver(from: TestRedis, to: TestRedis): Promise<void> {
  await promote(to);
  await follow(from, to);
  await untilReplicasAre(to, 1);
}
