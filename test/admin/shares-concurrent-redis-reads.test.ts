/** However many ask for the same sale at once, Redis is asked by one at a time, and nobody hears what was before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { createSaleReader } from '../../src/admin/sales/sale-view.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const { servers } = await useServers(FILE);
const { shards } = servers;
const reader = createSaleReader(shards);

async function calls(saleId: string): Promise<number> {
  const stats = await shards.of(saleId).client.info('commandstats');
  const count = (name: string) =>
    Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0);
  return count('evalsha') + count('eval');
}

test('a hundred questions are two readings', async () => {
  const { saleId } = await makeSale(servers);
  await shards.call(readSale, saleId);
  const before = await calls(saleId);
  const replies = await Promise.all(Array.from({ length: 100 }, () => reader.fresh(saleId)));
  assert.equal(await calls(saleId), before + 2);
  for (const { outcome } of replies) assert.equal(outcome, 'known');
});

test('who asks after something has happened hears of it, whoever is asking already', async () => {
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

test('a reading that fails fails for those who shared it, and for nobody after', async () => {
  const { saleId } = await makeSale(servers);
  const { client } = shards.of(saleId);
  const asked = [reader.fresh(saleId), reader.fresh(saleId)];
  client.disconnect(true);
  await Promise.allSettled(asked);
  for (let tries = 0; ; tries++) {
    const reply = await reader.fresh(saleId).catch((error: unknown) => error as Error);
    if (!(reply instanceof Error)) break;
    assert.ok(tries < 1_000, reply.message);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});
