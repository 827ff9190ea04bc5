/**
 * Damage of a sale in Redis is found without a request: at once if a buyer meets it, and within seconds if nobody buys. The
 * buyer gets `recovering` until the sale is rebuilt. Operators see a log message and a metric.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Redis } from 'ioredis';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { type TestPersister, usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { recoveriesOf } from '../../harness/sales/recovery.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { makeWhole } from '../../harness/sales/whole-records.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

type Damage = (client: Redis, saleId: string) => Promise<unknown>;

const NEVER_MS = 60_000;
/** Sales that changed lately are swept every second, so these are made to look old. */
const MADE_TO_LOOK_OLD = ['the-sale-row-is-the-last-operation'];

/** What a buyer meets. */
const MET: Record<string, Damage> = {
  'an unknown status': (client, saleId) => client.hset(saleKey(saleId, 'sale'), 'status', '?'),
  'unreadable SKUs': (client, saleId) => client.hset(saleKey(saleId, 'sale'), 'skus', '?'),
  'a deleted stock': (client, saleId) => client.del(saleKey(saleId, 'stock')),
  'an unreadable count': (client, saleId) =>
    client.hset(saleKey(saleId, 'stock'), 'unit:held', '?'),
  'an order of another type': (client, saleId) => client.set(saleKey(saleId, 'order'), '?'),
};

/** What nobody meets, or what no check reads. */
const UNMET: Record<string, Damage> = {
  'deleted buyers': (client, saleId) => client.del(saleKey(saleId, 'buyers')),
  'deleted holds': (client, saleId) => client.del(saleKey(saleId, 'holds')),
  'lost terms of a batch with a hold that ends': async (client, saleId) => {
    await client.del(saleKey(saleId, 'terms'));
    await client.zadd(saleKey(saleId, 'holds'), 1, '1-1');
  },
  'an unreadable record of a hold that ends': async (client, saleId) => {
    const key = saleKey(saleId, 'buyers');
    const record = await makeWhole(client, saleId, 'ada');
    await client.hset(key, 'ada', record.replace(/\d+\t$/, '?\t'));
    await client.zadd(saleKey(saleId, 'holds'), 1, '1-1');
  },
};

const { servers, redis, database } = await useServers(FILE);
const hotPath = await useHotPath(FILE, redis.url);

async function damagedSale(damage: Damage): Promise<string> {
  const { saleId } = await makeSale(servers, { stock: 10 });
  await hold(servers.shards, saleId, ['ada']);
  await eventually(async () => {
    const { events, drained } = await saleState(servers.shards, saleId);
    assert.equal(drained, events);
  });
  // A hot path that has seen the sale before.
  assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 200);
  await servers.sql`UPDATE sales SET updated_at = now() - interval '1 hour'`;
  await damage(servers.shards.of(saleId).client, saleId);
  return saleId;
}

async function untilRebuilt(persister: TestPersister, saleId: string, damages: number) {
  await eventually(async () => {
    const last = (await recoveriesOf(servers, saleId)).at(-1);
    assert.deepEqual([last?.outcome, last?.cause], ['rebuilt', 'redis_damaged']);
  });
  assert.equal(await persister.metric('damages_total'), damages);
  await assertPromisesHold(servers, saleId, MADE_TO_LOOK_OLD);
}

test('damage that a buyer meets is repaired at once, and the buyer gets recovering until then', async (t) => {
  const timings = { lookMs: NEVER_MS, restLookMs: NEVER_MS };
  const persister = await usePersister(t, redis.url, database.url, timings);
  for (const [index, [what, damage]] of Object.entries(MET).entries()) {
    const saleId = await damagedSale(damage);
    const codes = new Set<unknown>();
    await eventually(async () => {
      const { status, body } = await hotPath.buy(saleId, 'bob');
      codes.add(body.code ?? status);
      assert.equal(status, 201, body.code);
    });
    await untilRebuilt(persister, saleId, index + 1);
    // Only views read the SKUs, and a view of before the damage may sell.
    if (what === 'unreadable SKUs') codes.add('recovering');
    assert.deepEqual(
      [...codes].sort((a, b) => String(a).localeCompare(String(b))),
      [201, 'recovering'],
    );
  }
});

test('damage that nobody meets is repaired within seconds', async (t) => {
  const timings = { lookMs: 300, restLookMs: 300 };
  const persister = await usePersister(t, redis.url, database.url, timings);
  for (const [index, damage] of Object.values(UNMET).entries()) {
    await untilRebuilt(persister, await damagedSale(damage), index + 1);
  }
});
