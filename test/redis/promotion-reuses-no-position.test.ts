/**
 * `safe` promises nothing of what a promoted replica lacks, and nobody can know how much that is. So after a promotion
 * positions are left out, more than the old master can have given since PostgreSQL last heard of one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { type Connections, connect } from '../../harness/servers/connections.ts';
import { createDatabase } from '../../harness/servers/postgres.ts';
import { promote, startReplicated, untilReplicasAre } from '../../harness/servers/replication.ts';

const BACKLOG_MAX = 1_000;
const SAFE = { DURABILITY: 'safe', BACKLOG_MAX: String(BACKLOG_MAX) };

/** As soon as the sale is open. */
async function positionOf({ shards }: Connections, saleId: string, buyer: string) {
  return eventually(async () => {
    const [answer] = await buy(shards, saleId, [buyer]);
    assert.ok(answer?.outcome === 'reserved', answer?.outcome);
    return Number(answer.record.split('\t')[2]);
  });
}

async function untilWritten({ sql }: Connections, saleId: string, count: number) {
  await eventually(async () => {
    const [row] = await sql`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
    assert.equal(row!.count, count);
  });
}

test('safe: what a promoted replica may have forgotten is left out', async (t) => {
  const redis = await startReplicated({ demanded: 0 });
  t.after(() => redis.stop());
  const [master, replica] = [redis.master, redis.replicas[0]!];
  const database = await createDatabase();
  t.after(() => database.drop());
  const old = await connect(master.url, database.url);
  t.after(() => old.close());
  const { saleId } = await makeSale(old);
  const first = await usePersister(t, master.url, database.url, {}, SAFE);
  assert.equal(await positionOf(old, saleId, 'ada'), 1);
  await untilWritten(old, saleId, 1);
  // A master that restarts has forgotten nothing.
  await master.restart();
  assert.equal(await positionOf(old, saleId, 'bob'), 2);
  await untilWritten(old, saleId, 2);
  await first.close();

  await untilReplicasAre(master, 1);
  await promote(replica);
  const forgotten = await positionOf(old, saleId, 'told-by-the-old-master-only');
  assert.equal(forgotten, 3);
  await master.kill();

  const promoted = await connect(replica.url, database.url);
  t.after(() => promoted.close());
  await usePersister(t, replica.url, database.url, {}, SAFE);
  const position = await positionOf(promoted, saleId, 'told-by-the-new-master');
  assert.equal(position, 2 + 2 * BACKLOG_MAX + 1_000_000 + 1);
  await untilWritten(promoted, saleId, 3);
});
