/** Thousands of events land in PostgreSQL once, whoever brings them and however often. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { persister } from '../support/persister.ts';
import { buyMany, type Connections, connect, makeSale } from '../support/sales.ts';
import {
  createDatabase,
  eventually,
  startRedis,
  type TestDatabase,
  type TestRedis,
} from '../support/servers.ts';

let redis: TestRedis;
let database: TestDatabase;
let servers: Connections;

before(async () => {
  [redis, database] = await Promise.all([startRedis(), createDatabase()]);
  servers = await connect(redis.url, database.url);
});
after(async () => {
  await servers.close();
  await Promise.all([redis.stop(), database.drop()]);
});

test('thousands of events land once, by three persisters side by side', async () => {
  const { saleId } = await makeSale(servers);
  const others = await makeSale(servers);
  const persisters = await Promise.all([1, 2, 3].map(() => persister(redis.url, database.url)));
  await Promise.all([
    buyMany(servers.shards, saleId, { count: 20_000, batchSize: 100 }),
    buyMany(servers.shards, others.saleId, { count: 500, batchSize: 1 }),
  ]);
  await eventually(async () => {
    const [row] = await servers.sql`
      SELECT count(*)::int AS count, max(position)::int AS last, count(DISTINCT buyer_id)::int AS buyers
      FROM reservations WHERE sale_id = ${saleId}`;
    assert.deepEqual({ ...row }, { count: 20_000, last: 20_000, buyers: 20_000 });
  });
  await Promise.all(persisters.map((one) => one.close()));
});
