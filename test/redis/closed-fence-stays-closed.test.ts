/**
 * A master that was replaced and comes to reign again has the run id that the sale was opened on, but no longer all that
 * it had decided. Whoever asks its successor meanwhile must have closed the sale for good.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buy } from '../../harness/sales/purchases.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { connectShards } from '../../harness/servers/connections.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';
import {
  follow,
  promote,
  startReplicated,
  untilReplicasAre,
} from '../../harness/servers/replication.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

test('a sale stays closed when its first master reigns again before anybody has checked', async () => {
  const redis = await startReplicated({ demanded: 0 });
  const [first, second] = [redis.master, redis.replicas[0]!];
  const connections = [await connectShards(first.url)];
  try {
    const sale = await openSale(connections[0]!, { unit: 10 });
    await untilReplicasAre(first, 1);

    await handOver(first, second);
    connections.push(await connectShards(second.url));
    assert.equal((await buy(connections[1]!, sale.saleId, ['ada']))[0]?.outcome, 'recovering');

    await handOver(second, first);
    connections.push(await connectShards(first.url));
    const again = connections[2]!;
    assert.equal((await buy(again, sale.saleId, ['bob']))[0]?.outcome, 'recovering');
    assert.equal((await again.call(readSale, sale.saleId)).outcome, 'recovering');
  } finally {
    for (const shards of connections) shards.close();
    await redis.stop();
  }
});

async function handOver(from: TestRedis, to: TestRedis): Promise<void> {
  await promote(to);
  await follow(from, to);
  await untilReplicasAre(to, 1);
}
