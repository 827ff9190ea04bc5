/** Concurrent reads of a sale share one call to Redis, and none gets a result older than its request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { scriptCalls } from '../../harness/sales/recovery.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { createSaleReader } from '../../src/admin/sales/sale-view.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const { servers } = await useServers(FILE);
const { shards } = servers;
const reader = createSaleReader(shards);

test('a hundred concurrent reads are two calls', async () => {
  const { saleId } = await makeSale(servers);
  await shards.call(readSale, saleId);
  const before = await scriptCalls(servers, saleId);
  const replies = await Promise.all(Array.from({ length: 100 }, () => reader.fresh(saleId)));
  assert.equal(await scriptCalls(servers, saleId), before + 2);
  for (const { outcome } of replies) assert.equal(outcome, 'known');
});

test('a read after a purchase sees it, though other reads are in flight', async () => {
  const { saleId } = await makeSale(servers, { stock: 1_000 });
  const isOver = new AbortController();
  const others = (async () => {
    while (!isOver.signal.aborted) {
      await Promise.all(Array.from({ length: 20 }, () => reader.fresh(saleId)));
    }
  })();
  for (let sold = 1; sold <= 50; sold++) {
    await buy(shards, saleId, [`buyer-${sold}`]);
    const reply = await reader.fresh(saleId);
    assert.ok('state' in reply);
    assert.equal(reply.state.events, sold);
  }
  isOver.abort();
  await others;
});

test('a failed call fails the reads that share it, and no later one', async () => {
  const { saleId } = await makeSale(servers);
  const { client } = shards.of(saleId);
  const reads = [reader.fresh(saleId), reader.fresh(saleId)];
  client.disconnect(true);
  await Promise.allSettled(reads);
  await eventually(() => reader.fresh(saleId));
});
