/**
 * Records a running sale as this version of the engine writes it, for the upgrade test. Copy this file into a checkout of
 * the version to record, and run there: `node test/upgrade/record-sale.ts <file>.json.gz`.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { usePersister } from '../../harness/engine/persister.ts';
import { applyTransition, reservationsOf, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { readAndAbandon, saleState } from '../../harness/sales/stream.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { PERSISTER_GROUP } from '../../src/lua/keys.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';

const SALE_ID = 'upgraded';
const LOOPS = 300;
/** Longer than this fixture will be in use. */
const LONG_HOLD_SECONDS = 1_000_000_000;
const TABLES = [
  'sales',
  'sale_skus',
  'sale_operations',
  'stock_ledger',
  'reservations',
  'reservation_events',
  'checkpoints',
  'sale_announcements',
  'audit_log',
] as const;

const undos: (() => unknown)[] = [];
const scope = { after: (undo: () => unknown) => undos.push(undo) };
const { redis, postgres, servers } = await useStoppableServers(scope);
const { shards, sql } = servers;
const { client } = shards.of(SALE_ID);

let batches = 0;
async function buyWithKey(buyerId: string, key: string, quantity = 1) {
  const [reply] = await shards.call(reserve, SALE_ID, {
    tag: `t${String(++batches).padStart(7, '0')}`,
    backlogMax: 2_000_000,
    requests: [
      {
        buyerId,
        idempotencyKey: key,
        items: `unit*${quantity}`,
        requestId: `request-${buyerId}-${key}`,
        traceparent: '',
      },
    ],
  });
  if (reply?.outcome !== 'reserved') throw new Error(`${buyerId} got ${reply?.outcome}`);
  const own = await reservationsOf(shards, SALE_ID, buyerId);
  return own.at(-1)!;
}

/** Drained: a buyer with many ended reservations, confirmed ones, one that expired. */
async function sellAndDrain() {
  const persister = await usePersister(scope, redis.url, postgres.url);
  for (let loop = 1; loop <= LOOPS; loop++) {
    await applyTransition(shards, await buyWithKey('looper', `loop-${loop}`), 'give-back');
  }
  for (const buyerId of ['paid-1', 'paid-2', 'paid-3']) {
    await applyTransition(shards, await buyWithKey(buyerId, 'cart'), 'confirm');
  }
  await buyWithKey('forgetful', 'cart');
  await untilRows(servers, SALE_ID, LOOPS + 4);
  for (;;) {
    const { events, drained } = await saleState(shards, SALE_ID);
    const [own] = await reservationsOf(shards, SALE_ID, 'forgetful');
    if (own?.status === 'expired' && events === drained) break;
    await sleep(50);
  }
  await persister.close();
}

/** From here on nobody drains: two holds that end soon, holds that last, and buyers who wait. */
async function sellMore() {
  await buyWithKey('expiring-1', 'cart');
  await buyWithKey('expiring-2', '');
  const { definition, timeline } = await saleState(shards, SALE_ID);
  const longer = { ...definition, holdSeconds: LONG_HOLD_SECONDS };
  await sql`UPDATE sales SET hold_seconds = ${LONG_HOLD_SECONDS}, last_operation = 2`;
  await sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, outcome, actor, request_id)
    VALUES (${SALE_ID}, 2, 'patch', ${sql.json(longer as never)}, 'applied', 'test', 'test')`;
  const operation = { operation: 2, timeline, definition: longer, changes: [] };
  await shards.call(applyOperation, SALE_ID, operation);
  for (const number of [1, 2, 3, 4]) await buyWithKey(`holding-${number}`, 'cart', 3);
  for (const number of [5, 6, 7]) await buyWithKey(`holding-${number}`, '');
  for (const [buyerId, quantity] of [
    ['waiting-1', 2],
    ['waiting-2', 1],
    ['waiting-3', 3],
  ] as const) {
    await shards.call(joinWaitlist, SALE_ID, { buyerId, sku: 'unit', quantity });
  }
  // A persister that died had read these.
  await readAndAbandon(shards, SALE_ID, 2);
}

async function readKey(key: string) {
  switch (await client.type(key)) {
    case 'hash':
      return { key, hash: await client.hgetall(key) };
    case 'list':
      return { key, list: await client.lrange(key, 0, -1) };
    case 'zset':
      return { key, zset: await client.zrange(key, '0', '-1', 'WITHSCORES') };
    case 'stream': {
      const pending = await client.xpending(key, PERSISTER_GROUP, '-', '+', 1_000);
      const abandoned = pending.map((entry) => (entry as [string])[0]);
      return { key, stream: await client.xrange(key, '-', '+'), abandoned };
    }
    default:
      throw new Error(`${key} is of an unknown type`);
  }
}

/** The counters of a process, which expire. */
const isOfProcess = (key: string) => /^fs:(process|processes|watched):/.test(key);

try {
  await makeSale(servers, { saleId: SALE_ID, stock: 20, perBuyerLimit: 3, holdSeconds: 1 });
  await sellAndDrain();
  await sellMore();
  const keys = await Promise.all(
    (await client.keys('*'))
      .filter((key) => !isOfProcess(key))
      .sort()
      .map(readKey),
  );
  const tables: Record<string, unknown[]> = {};
  for (const table of TABLES) {
    // As text: the connection would rename fields of JSON.
    const rows = await sql<{ row: string }[]>`
      SELECT to_jsonb(t)::text AS row FROM ${sql(table)} t`;
    tables[table] = rows.map(({ row }) => JSON.parse(row) as unknown);
  }
  const [version] = await sql`SELECT max(version)::int AS migration FROM schema_version`;
  const recorded = JSON.stringify({
    recordedAtMs: Date.now(),
    migration: version!.migration as number,
    keys,
    tables,
  });
  writeFileSync(process.argv[2]!, gzipSync(recorded, { level: 9 }));
} finally {
  for (const undo of undos.reverse()) await undo();
}
process.exit(0);
