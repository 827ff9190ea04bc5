/**
 * Redis and its database belong together. A persister or admin with another database, such as a copy, refuses and does
 * nothing, until an operator adopts that database.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { callAdmin, newSale, useApp } from '../../harness/engine/admin.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import {
  applyTransition,
  assertPromisesHold,
  rowCount,
  untilRows,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useConnections, useServers } from '../../harness/servers/connections.ts';
import { useCopyOf, useDatabase } from '../../harness/servers/postgres.ts';
import { withRedis } from '../../harness/servers/redis.ts';
import { useCluster } from '../../harness/servers/redis-cluster.ts';
import { type Scope, use } from '../../harness/use.ts';
import { adopt } from '../../src/cli/adopt.ts';
import { readServersConfig } from '../../src/config.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { Pairing } from '../../src/pairing/pairing.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { createLogger } from '../../src/process/logger.ts';
import { identityKey, readIdentity, replaceIdentity } from '../../src/redis/identity.ts';
import { Shards } from '../../src/redis/shards.ts';
import { verifySale } from '../../src/verify/verify.ts';

const KEY = identityKey()!;
const IMPATIENT = { catchUpMs: 0, repeats: 0, pauseMs: 0 };

/** The servers of an admin on a database, which Redis may refuse. */
async function useAdminServers(scope: Scope, redisUrl: string, databaseUrl: string) {
  const sql = await use(scope, () =>
    connectPostgres(databaseUrl, { process: 'test', connectionsMax: 2 }),
  );
  const log = createLogger('test', 'silent');
  const pairing = new Pairing({ run: (query) => query(sql), waits: false, log });
  const shards = await use(
    scope,
    () =>
      new Shards({
        url: redisUrl,
        name: 'test',
        commandTimeoutMs: 1_000,
        requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
        log,
        onUnfit: () => undefined,
        admission: pairing,
      }),
  );
  return { sql, pairing, shards };
}

/** `admitted`, or why not. */
async function verdictOn(redisUrl: string, databaseUrl: string): Promise<string> {
  const sql = connectPostgres(databaseUrl, { process: 'test', connectionsMax: 1 });
  const log = createLogger('test', 'silent');
  const pairing = new Pairing({ run: (query) => query(sql), waits: true, log });
  try {
    return await withRedis(redisUrl, (client) =>
      pairing
        .admit({ client, key: KEY }, async () => [])
        .then(
          () => 'admitted',
          (error: Error) => error.message,
        ),
    );
  } finally {
    await sql.end({ timeout: 2 });
  }
}

async function forgetPairing(databaseUrl: string): Promise<void> {
  const sql = connectPostgres(databaseUrl, { process: 'test', connectionsMax: 1 });
  await sql`UPDATE database_identity SET paired_as = NULL`;
  await sql.end({ timeout: 2 });
}

describe('a copy of the database, made for staging', () => {
  it('gets no decision of the original: its persister ends at start-up with one clear line', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 100 });
    const first = await usePersister(test, redis.url, database.url);
    await hold(servers.shards, saleId, ['ada', 'bob']);
    await untilRows(servers, saleId, 2);
    await first.close();
    await servers.sql.end();
    const copy = await useCopyOf(test, database);
    const servers2 = await useConnections(test, redis.url, copy.url);
    await hold(servers2.shards, saleId, ['cid', 'dan', 'eve']);
    const before = await saleState(servers2.shards, saleId);

    const staging = await useEngineProcess(test, 'persister', {
      REDIS_URL: redis.url,
      DATABASE_URL: copy.url,
      LOG_LEVEL: 'fatal',
    });
    await eventually(() => assert.equal(staging.child.exitCode, 1), { timeoutMs: 20_000 });
    const lines = staging.output.trim().split('\n');
    assert.equal(lines.length, 1, staging.output);
    assert.match(
      lines[0]!,
      /This database does not belong to this Redis.*flash-sale migrate --adopt/,
    );
    assert.equal(await rowCount(servers2, saleId), 2);
    const { drained, timeline } = await saleState(servers2.shards, saleId);
    assert.deepEqual([drained, timeline], [before.drained, before.timeline]);
    const client = servers2.shards.of(saleId).client;
    const [pending] = (await client.xpending(saleKey(saleId, 'events'), 'persister')) as [number];
    assert.equal(pending, 0, 'it has read nothing');

    await usePersister(test, redis.url, database.url);
    const own = await useConnections(test, redis.url, database.url);
    await untilRows(own, saleId, 5);
    await assertPromisesHold(own, saleId);
    const { checks } = await verifySale(servers2, saleId, IMPATIENT);
    const failed = checks.filter(({ ok }) => !ok).map(({ name }) => name);
    assert.ok(failed.includes('this-database-belongs-to-redis'), failed.join());
  });

  it('applies no change of an operator or merchant, and records none', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 100 });
    await usePersister(test, redis.url, database.url);
    const [held] = await hold(servers.shards, saleId, ['ada']);
    await untilRows(servers, saleId, 1);
    const copy = await useCopyOf(test, database);
    const { sql, shards, pairing } = await useAdminServers(test, redis.url, copy.url);
    await eventually(() => assert.notEqual(pairing.refusal, undefined));
    const app = await useApp(test, { sql, shards }, { pairing });

    const ready = await callAdmin(app, 'GET //readyz');
    assert.deepEqual([ready.status, ready.body.missing], [503, ['redis']]);
    assert.match(ready.body.reasons.join(), /does not belong to this Redis/);
    for (const [request, body] of [
      ['POST /sales', newSale()],
      [`POST /sales/${saleId}/stock`, { sku: 'unit', delta: 5 }],
      [`POST /sales/${saleId}/pause`, undefined],
      [`POST /sales/${saleId}/archive`, undefined],
      [`POST /reservations/${held!.reservationId}/confirm`, undefined],
    ] as const) {
      const { status, body: problem, headers } = await callAdmin(app, request, { body });
      assert.deepEqual([request, status, problem.code], [request, 503, 'unavailable']);
      assert.match(problem.detail, /flash-sale migrate --adopt/);
      assert.ok(Number(headers['retry-after']) > 0);
    }
    const [count] = await sql<{ operations: number }[]>`
      SELECT count(*)::int AS operations FROM sale_operations`;
    assert.equal(count!.operations, 1);
    assert.equal((await callAdmin(app, `GET /reservations?saleId=${saleId}`)).status, 200);
    const { stock, definition } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]!.held, stock[0]!.confirmed, definition.status], [1, 0, 'open']);
  });
});

it('a persister that finds another identity later stops, says why, and goes on when its own is back', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const { saleId } = await makeSale(servers, { stock: 100, holdSeconds: 1 });
  const persister = await usePersister(test, redis.url, database.url);
  await hold(servers.shards, saleId, ['ada']);
  await untilRows(servers, saleId, 1);
  const place = { client: servers.shards.of(saleId).client, key: KEY };
  const own = await readIdentity(place);
  const held = async () => (await saleState(servers.shards, saleId)).stock[0]!.held;
  // The persister still sweeps.
  await eventually(async () => assert.equal(await held(), 0));
  await replaceIdentity(place, 'another');
  await eventually(async () => assert.deepEqual(await persister.missing(), ['redis']));
  assert.match((await persister.reasons()).join(), /Redis belongs to another database \(another\)/);
  const [late] = await hold(servers.shards, saleId, ['bob']);
  // Nothing is swept either, so the hold outlives its deadline.
  await eventually(async () => {
    const { nowMs } = await saleState(servers.shards, saleId);
    assert.ok(nowMs > late!.expiresAt + 500);
  });
  assert.equal(await held(), 1);
  assert.equal(await rowCount(servers, saleId), 1);
  await replaceIdentity(place, own!.database);
  await untilRows(servers, saleId, 2);
  await eventually(async () => assert.equal(await held(), 0));
});

it('a restored backup is adopted by one command, and becomes whole; the database before it is refused', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const { saleId } = await makeSale(servers, { stock: 100 });
  const first = await usePersister(test, redis.url, database.url);
  await hold(servers.shards, saleId, ['ada', 'bob']);
  await untilRows(servers, saleId, 2);
  const backup = await useCopyOf(test, database);
  const [late] = await hold(servers.shards, saleId, ['cid', 'dan']);
  await applyTransition(servers.shards, late!, 'confirm');
  await untilRows(servers, saleId, 4);
  await eventually(async () => {
    const { events, drained } = await saleState(servers.shards, saleId);
    assert.equal(drained, events);
  });
  await first.close();

  assert.match(await verdictOn(redis.url, backup.url), /belongs to another database/);
  const lines: string[] = [];
  const config = readServersConfig({ REDIS_URL: redis.url, DATABASE_URL: backup.url });
  await adopt(config, (line) => lines.push(line));
  await adopt(config, (line) => lines.push(line));
  assert.match(lines.join('\n'), /belongs to Redis now, instead of .*\n.*already belongs to Redis/);
  const restored = await useConnections(test, redis.url, backup.url);
  assert.equal(await rowCount(restored, saleId), 2);
  await usePersister(test, redis.url, backup.url);
  await untilRows(restored, saleId, 4);
  await untilOpen(restored, saleId);
  await assertPromisesHold(restored, saleId);
  assert.match(await verdictOn(redis.url, database.url), /belongs to another database/);
});

it('an emptied Redis gets the identity and its sales again without a command, and no other database in between', async (test) => {
  const { redis, database, servers } = await useServers(test);
  const { saleId } = await makeSale(servers, { stock: 100 });
  await usePersister(test, redis.url, database.url);
  await hold(servers.shards, saleId, ['ada']);
  await untilRows(servers, saleId, 1);
  const copy = await useCopyOf(test, database);
  const staging = await useAdminServers(test, redis.url, copy.url);
  await eventually(() => assert.notEqual(staging.pairing.refusal, undefined));
  const place = { client: servers.shards.of(saleId).client, key: KEY };
  const before = await readIdentity(place);
  assert.equal(before?.isComplete, true);
  await place.client.flushall();
  assert.match(await verdictOn(redis.url, copy.url), /--adopt/);
  await untilOpen(servers, saleId);
  await eventually(async () => {
    const after = await readIdentity(place);
    assert.deepEqual([after?.database, after?.isComplete], [before.database, true]);
    assert.notEqual(after?.claim, before.claim);
  });
  await assertPromisesHold(servers, saleId);
  assert.equal(staging.shards.isReady, false);
});

describe('a Redis without an identity, from before an upgrade', () => {
  it('is adopted by its own database, and by no copy that lacks something', async (test) => {
    const { redis, database, servers } = await useServers(test);
    const { saleId } = await makeSale(servers, { stock: 100 });
    const first = await usePersister(test, redis.url, database.url);
    await hold(servers.shards, saleId, ['ada']);
    await untilRows(servers, saleId, 1);
    const older = await useCopyOf(test, database);
    const other = await useDatabase(test);
    await hold(servers.shards, saleId, ['bob']);
    await eventually(async () =>
      assert.equal((await saleState(servers.shards, saleId)).drained, 2),
    );
    await first.close();
    await hold(servers.shards, saleId, ['cid']);
    await servers.shards.of(saleId).client.del(KEY);

    // As a database that was migrated only now.
    await forgetPairing(older.url);
    assert.match(await verdictOn(redis.url, older.url), /a later state of the sale .* --adopt/);
    assert.match(
      await verdictOn(redis.url, other.url),
      /which this database does not have; .* --adopt/,
    );
    await usePersister(test, redis.url, database.url);
    await untilRows(servers, saleId, 3);
    await assertPromisesHold(servers, saleId);
  });

  it('is adopted by one of two databases that come at once', async (test) => {
    const { redis, database } = await useServers(test);
    const other = await useDatabase(test);
    const urls = [database.url, other.url, database.url, other.url];
    const verdicts = await Promise.all(urls.map((url) => verdictOn(redis.url, url)));
    const [mine, its] = [
      [verdicts[0], verdicts[2]],
      [verdicts[1], verdicts[3]],
    ];
    const [winners, losers] = mine[0] === 'admitted' ? [mine, its] : [its, mine];
    assert.deepEqual(winners, ['admitted', 'admitted']);
    for (const loser of losers) assert.match(loser!, /belongs to another database/);
  });
});

it('each master of a cluster has the identity, also when slots migrate or one loses its memory', async (test) => {
  const cluster = await useCluster(test);
  const [own, other] = [await useDatabase(test), await useDatabase(test)];
  const mine = await useAdminServers(test, cluster.url, own.url);
  await eventually(() => assert.ok(mine.shards.isReady));
  const identities = async () => {
    const places = await mine.shards.identityPlaces();
    return Promise.all(places.map((place) => readIdentity(place)));
  };
  const [first] = await identities();
  const owned = async () =>
    assert.deepEqual(
      (await identities()).map((one) => one?.database),
      Array(3).fill(first!.database),
    );
  await owned();
  // The slot of one key moves to another master, together with the key.
  const slot = calculateSlot(KEY);
  const from = cluster.ownerOf(slot);
  const to = (from + 1) % 3;
  const ids: string[] = [];
  for (const { url } of cluster.masters) {
    ids.push(await withRedis(url, (node) => node.cluster('MYID')));
  }
  const { port } = cluster.masters[to]!;
  await withRedis(cluster.masters[to]!.url, (node) =>
    node.cluster('SETSLOT', slot, 'IMPORTING', ids[from]!),
  );
  await withRedis(cluster.masters[from]!.url, async (node) => {
    await node.cluster('SETSLOT', slot, 'MIGRATING', ids[to]!);
    await node.migrate('127.0.0.1', port, KEY, 0, 1_000);
  });
  for (const { url } of cluster.masters) {
    await withRedis(url, (node) => node.cluster('SETSLOT', slot, 'NODE', ids[to]!));
  }
  mine.shards.checkNow();
  await eventually(owned);
  await withRedis(cluster.masters[to]!.url, (node) => node.flushall());
  const foreign = await useAdminServers(test, cluster.url, other.url);
  await eventually(() =>
    assert.match(foreign.pairing.refusal ?? '', /belongs to another database/),
  );
  mine.shards.checkNow();
  await eventually(owned);
  assert.equal(foreign.shards.isReady, false);
});
