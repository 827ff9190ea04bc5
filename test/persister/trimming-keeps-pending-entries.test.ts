/** The stream is trimmed below the events in PostgreSQL, and never beyond an entry that is still to be written. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { untilIncreased } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { rowCount, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendEntry, entryIds, saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { PERSISTER_GROUP, saleKey } from '../../src/lua/keys.ts';

const { redis, database, servers } = await useServers(FILE);

describe('trimming', () => {
  it('stops at the oldest pending entry, and later ones wait for a persister that knows its format', async (test) => {
    const { saleId } = await makeSale(servers);
    await buyMany(servers.shards, saleId, { count: 20, batchSize: 10, prefix: 'before' });
    const unknown = await appendEntry(servers.shards, saleId, { v: '9', x: 'of the future' });
    await buyMany(servers.shards, saleId, { count: 50, batchSize: 10, prefix: 'behind' });
    const one = await usePersister(test, redis.url, database.url, { claimIdleMs: 200 });
    await untilRows(servers, saleId, 20);
    await eventually(async () => {
      assert.equal((await entryIds(servers.shards, saleId))[0], unknown);
      assert.equal(await one.metric('waiting_entries'), 1);
    });
    assert.equal((await saleState(servers.shards, saleId)).drained, 20);
    // Several rounds find the entry again, and each must leave it pending.
    await untilIncreased(() => one.metric('trims_total'), 3);
    assert.equal(
      await rowCount(servers, saleId),
      20,
      'PostgreSQL has no event without all earlier ones',
    );
    assert.equal((await entryIds(servers.shards, saleId))[0], unknown);
    const letters = await servers.sql`SELECT FROM dead_letters WHERE sale_id = ${saleId}`;
    assert.equal(letters.length, 0);

    // As if a newer persister had written it.
    await servers.sql`UPDATE checkpoints SET event = 21 WHERE sale_id = ${saleId}`;
    await servers.shards
      .of(saleId)
      .client.xack(saleKey(saleId, 'events'), PERSISTER_GROUP, unknown);
    await eventually(async () => {
      assert.equal(await rowCount(servers, saleId), 70);
      assert.deepEqual(await entryIds(servers.shards, saleId), []);
      assert.equal(await one.metric('waiting_entries'), 0);
    });
    assert.equal((await saleState(servers.shards, saleId)).drained, 71);
  });
});
