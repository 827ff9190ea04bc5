/** Stream consumers of ended processes are removed, but none that has a pending entry or reads one at that moment. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { consumerNames } from '../../harness/sales/stream.ts';
import { useConnections, useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { removeIdleConsumers } from '../../src/lua/stream/remove-idle-consumers.ts';
import { StreamConsumer } from '../../src/persister/stream/consumer.ts';

const ROUNDS = 60;
const IDLE_MS = 5;

const { redis, database, servers } = await useServers(FILE);

describe('an idle consumer', () => {
  const streamOf = ({ shards }: typeof servers, saleId: string, consumer: string) =>
    new StreamConsumer(shards.of(saleId).pin(), saleId, consumer);

  it('is removed, unless it has a pending entry or is the caller itself', async () => {
    const { saleId } = await makeSale(servers);
    const tidy = streamOf(servers, saleId, 'tidy');
    await tidy.removeIdleConsumers(IDLE_MS);
    await tidy.ensureGroup();
    for (const reader of [tidy, streamOf(servers, saleId, 'with nothing')]) {
      await buy(servers.shards, saleId, [`buyer-of-${reader.consumer.slice(0, 4)}`]);
      await reader.acknowledge((await reader.readNew(1)).map(({ id }) => id));
    }
    await buy(servers.shards, saleId, ['ada']);
    await streamOf(servers, saleId, 'with an entry').readNew(1);
    await sleep(2 * IDLE_MS);
    await tidy.removeIdleConsumers(60_000);
    assert.equal((await consumerNames(servers.shards, saleId)).length, 3);
    await tidy.removeIdleConsumers(IDLE_MS);
    const left = await consumerNames(servers.shards, saleId);
    assert.deepEqual(left.toSorted(), ['tidy', 'with an entry']);
    await servers.shards
      .of(saleId)
      .client.xgroup('DESTROY', saleKey(saleId, 'events'), 'persister');
    const removed = await servers.shards.call(removeIdleConsumers, saleId, {
      minIdleMs: 0,
      kept: '',
    });
    assert.equal(removed, 0);
  });

  it('keeps an entry that it reads while it is being removed', async (test) => {
    const { saleId } = await makeSale(servers);
    // A second connection, so that both requests are in flight at the same time.
    const elsewhere = await useConnections(test, redis.url, database.url);
    const tidy = streamOf(servers, saleId, 'tidy');
    const thawed = streamOf(elsewhere, saleId, 'thawed');
    await tidy.ensureGroup();
    for (let round = 0; round < ROUNDS; round++) {
      await thawed.readNew(1);
      await sleep(2 * IDLE_MS);
      await buy(servers.shards, saleId, [`buyer-${round}`]);
      await Promise.all([tidy.removeIdleConsumers(IDLE_MS), thawed.readNew(1)]);
      const there = [...(await tidy.readNew(1)), ...(await tidy.claim(0, '0-0', 1)).entries];
      assert.equal(new Set(there.map(({ id }) => id)).size, 1, `the entry of round ${round}`);
      await tidy.acknowledge(there.map(({ id }) => id));
    }
  });
});
