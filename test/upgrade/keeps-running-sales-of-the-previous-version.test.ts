/**
 * What the previous version wrote stays readable: a running sale from both servers of that version is sold on, drained,
 * recovered and rebuilt by this version. The fixture is of commit c40b318; record-sale.ts made it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  reservationsOf,
  unitCounts,
} from '../../harness/sales/reservations.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useConnections } from '../../harness/servers/connections.ts';
import { useEmptyDatabase } from '../../harness/servers/postgres.ts';
import { useRedis, withRedis } from '../../harness/servers/redis.ts';
import type { Scope } from '../../harness/use.ts';
import { newTag } from '../../src/domain/identifiers.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { loadKeys, loadRows, readRecordedSale } from './recorded-sale.ts';

const FIXTURE = new URL('sale-of-c40b318.json.gz', import.meta.url);
const SALE_ID = 'upgraded';
/** The last position of the recorded sale. */
const RECORDED_POSITION = 313;
/** The recording has no audit, and its operations and holds were made by hand, with other times than admin's and Redis'. */
const NOT_IN_THE_RECORDING = [
  'the-sale-row-is-the-last-operation',
  'every-operation-is-audited',
  'the-ledger-follows-the-operations',
  'rows-follow-from-their-history',
];

async function useRecordedSale(scope: Scope) {
  const recorded = readRecordedSale(FIXTURE);
  const redis = await useRedis(scope);
  const database = await useEmptyDatabase(scope);
  await loadRows(database.url, recorded);
  await withRedis(redis.url, async (client) => {
    const runId = /^run_id:(\w+)/m.exec(await client.info('server'))![1]!;
    await loadKeys(client, runId, recorded);
  });
  return { redis, database, servers: await useConnections(scope, redis.url, database.url) };
}

async function buyOne({ shards }: Connections, buyerId: string, key: string, quantity = 1) {
  const [reply] = await shards.call(reserve, SALE_ID, {
    tag: newTag(),
    backlogMax: 2_000_000,
    requests: [
      {
        buyerId,
        idempotencyKey: key,
        items: `unit*${quantity}`,
        requestId: `again-${buyerId}`,
        traceparent: '',
      },
    ],
  });
  return reply!.outcome;
}

async function transitionOf(
  { shards }: Connections,
  buyerId: string,
  wanted: 'confirm' | 'cancel' | 'give-back' | 'extend',
) {
  const [own] = await reservationsOf(shards, SALE_ID, buyerId);
  return (await applyTransition(shards, own!, wanted)).outcome;
}

async function statusesOf({ shards }: Connections, buyerId: string) {
  const own = await reservationsOf(shards, SALE_ID, buyerId);
  return own.map(({ status }) => status);
}

/** Repeated requests with keys of the previous version. */
async function assertKeysAreKnown(servers: Connections) {
  for (const [buyerId, quantity] of [
    ['paid-1', 1],
    ['forgetful', 1],
    ['expiring-1', 1],
    ['holding-3', 3],
  ] as const) {
    assert.equal(await buyOne(servers, buyerId, 'cart', quantity), 'replayed', buyerId);
  }
  assert.equal(await buyOne(servers, 'holding-5', ''), 'replayed', 'without a key');
  assert.equal(await buyOne(servers, 'holding-3', 'cart', 2), 'key_reused');
  for (const key of ['loop-1', 'loop-150', 'loop-300']) {
    assert.notEqual(await buyOne(servers, 'looper', key), 'reserved', key);
  }
}

async function sweepAll({ shards }: Connections) {
  for (;;) {
    const reply = await shards.call(sweep, SALE_ID, { most: 50, tag: newTag() });
    if (reply.outcome !== 'swept') assert.fail(reply.outcome);
    if (reply.nextDueMs !== 0) return;
  }
}

async function untilDrained({ shards }: Connections) {
  await eventually(async () => {
    const { events, drained } = await saleState(shards, SALE_ID);
    assert.equal(drained, events);
  });
}

test('scripts decide on a sale of the previous version, and its stream is drained', async (t) => {
  const { redis, database, servers } = await useRecordedSale(t);
  assert.equal(await buyOne(servers, 'newcomer', ''), 'holds_due');
  assert.equal(await transitionOf(servers, 'holding-3', 'confirm'), 'changed');
  assert.equal(await transitionOf(servers, 'holding-4', 'extend'), 'changed');
  assert.equal(await transitionOf(servers, 'paid-2', 'confirm'), 'repeated');
  assert.equal(await transitionOf(servers, 'looper', 'confirm'), 'forbidden');
  // Two holds are due: their units are for the first buyer who waits.
  await sweepAll(servers);
  await assertKeysAreKnown(servers);
  assert.deepEqual(await statusesOf(servers, 'expiring-1'), ['expired']);
  assert.deepEqual(await statusesOf(servers, 'waiting-1'), ['reserved']);
  assert.equal(await transitionOf(servers, 'holding-1', 'cancel'), 'changed');
  assert.equal(await transitionOf(servers, 'holding-2', 'give-back'), 'changed');
  await sweepAll(servers);
  for (const buyerId of ['waiting-2', 'waiting-3']) {
    assert.deepEqual(await statusesOf(servers, buyerId), ['reserved'], buyerId);
  }
  assert.equal((await unitCounts(servers.shards, SALE_ID)).waiting, 0);
  assert.equal(await buyOne(servers, 'newcomer', ''), 'reserved');
  const [newest] = await reservationsOf(servers.shards, SALE_ID, 'newcomer');
  assert.equal(newest!.position, RECORDED_POSITION + 4);
  await assertKeysAreKnown(servers);

  const hotPath = await useHotPath(t, redis.url);
  const replayed = await hotPath.buy(SALE_ID, 'paid-1', { key: 'cart' });
  assert.deepEqual([replayed.status, replayed.body.status], [200, 'confirmed']);
  const me = await hotPath.call(`/v1/sales/${SALE_ID}/me`, { buyer: 'looper' });
  assert.equal(me.status, 200);

  await usePersister(t, redis.url, database.url);
  await untilDrained(servers);
  await assertPromisesHold(servers, SALE_ID, NOT_IN_THE_RECORDING);
});

test('a sale of the previous version is recovered after a restart, and rebuilt after a loss', async (t) => {
  const { redis, database, servers } = await useRecordedSale(t);
  await usePersister(t, redis.url, database.url);
  await untilDrained(servers);
  await eventually(async () => {
    assert.deepEqual(await statusesOf(servers, 'waiting-1'), ['reserved']);
  });
  await redis.restart();
  await untilOpen(servers, SALE_ID);
  await assertKeysAreKnown(servers);
  assert.equal(await transitionOf(servers, 'holding-3', 'confirm'), 'changed');
  await untilDrained(servers);
  await servers.shards.of(SALE_ID).client.flushall();
  await untilOpen(servers, SALE_ID);
  await assertKeysAreKnown(servers);
  assert.equal(await transitionOf(servers, 'holding-4', 'confirm'), 'changed');
  assert.equal(await transitionOf(servers, 'holding-2', 'cancel'), 'changed');
  assert.equal(await buyOne(servers, 'newcomer', ''), 'reserved');
  await untilDrained(servers);
  await assertPromisesHold(servers, SALE_ID, NOT_IN_THE_RECORDING);
});
