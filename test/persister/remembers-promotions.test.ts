/**
 * A promoted server may lack decisions that buyers already know. A restart before the recovery must not hide that it
 * was promoted.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useConnections, useServers } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { follow, PROMPT, promote, untilReplicasAre } from '../../harness/servers/replication.ts';
import { FILE } from '../../harness/use.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const { redis: master, database, servers } = await useServers(FILE, { args: PROMPT });

// The promotion comes last: the master's check ends its session some time after its replica has left.
for (const isPromoted of [false, true]) {
  it(`a ${isPromoted ? 'promoted' : 'never promoted'} server that restarted before any recovery ${isPromoted ? 'leaves out positions' : 'leaves out none'}`, async (test) => {
    // A check of the server may just have ended its session.
    await eventually(() => assert.ok(servers.shards.isReady));
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10 });
    let server = master;
    if (isPromoted) {
      server = await useRedis(test, { args: PROMPT });
      await follow(server, master);
      await untilReplicasAre(master, 1);
      await promote(server);
    } else {
      await server.restart();
    }
    const there = await useConnections(test, server.url, database.url);
    assert.equal((await buy(there.shards, saleId, ['early']))[0]?.outcome, 'recovering');
    await server.restart();
    await usePersister(test, server.url, database.url, {}, { DURABILITY: 'safe' });
    await eventually(async () => {
      assert.equal((await there.shards.call(readSale, saleId)).outcome, 'known');
    });
    const { position, wasPromoted } = await saleState(there.shards, saleId);
    assert.deepEqual([position > 20, wasPromoted], [isPromoted, false]);
  });
}
