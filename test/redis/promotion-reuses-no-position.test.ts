/**
 * Under `safe` a promoted replica may lack decisions, and nothing knows how many. So after a promotion the engine skips
 * positions, more than the old master can have assigned since the last one that PostgreSQL has.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { type Connections, useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { promote, untilReplicasAre, useReplicated } from '../../harness/servers/replication.ts';

const BACKLOG_MAX = 1_000;
const SAFE = { DURABILITY: 'safe', BACKLOG_MAX: String(BACKLOG_MAX) };

/** Buys as soon as the sale is open, and returns the position. */
async function positionOf({ shards }: Connections, saleId: string, buyer: string) {
  return eventually(async () => {
    const [outcome] = await buy(shards, saleId, [buyer]);
    assert.ok(outcome?.outcome === 'reserved', outcome?.outcome);
    return Number(outcome.record.split('\t')[2]);
  });
}

async function untilRowsAre({ sql }: Connections, saleId: string, count: number) {
  await eventually(async () => {
    const [row] = await sql`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
    assert.equal(row!.count, count);
  });
}

test('safe: positions that a promoted replica may have lost are skipped', async (t) => {
  const redis = await useReplicated(t, { demanded: 0 });
  const [master, replica] = [redis.master, redis.replicas[0]!];
  const database = await useDatabase(t);
  const old = await useConnections(t, master.url, database.url);
  const { saleId } = await makeSale(old);
  const first = await usePersister(t, master.url, database.url, {}, SAFE);
  assert.equal(await positionOf(old, saleId, 'ada'), 1);
  await untilRowsAre(old, saleId, 1);
  // A restarted master has lost nothing.
  await master.restart();
  assert.equal(await positionOf(old, saleId, 'bob'), 2);
  await untilRowsAre(old, saleId, 2);
  await first.close();

  await untilReplicasAre(master, 1);
  await promote(replica);
  const forgotten = await positionOf(old, saleId, 'acknowledged-by-the-old-master-only');
  assert.equal(forgotten, 3);
  await master.kill();

  const promoted = await useConnections(t, replica.url, database.url);
  await usePersister(t, replica.url, database.url, {}, SAFE);
  const position = await positionOf(promoted, saleId, 'acknowledged-by-the-new-master');
  assert.equal(position, 2 + 2 * BACKLOG_MAX + 1_000_000 + 1);
  await untilRowsAre(promoted, saleId, 3);
});
