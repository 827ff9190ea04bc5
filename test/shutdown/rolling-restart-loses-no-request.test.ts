/**
 * Hot paths restart one after the other during a sale. A client that retries only after a connection closed before the
 * first byte of the response gets exactly one response to its request.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import {
  countResponses,
  type SingleRequestCrowd,
  useSingleRequestCrowd,
} from '../../harness/crowds/single-request-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const CONNECTIONS = 24;
/** Many times the number of connections. */
const SOLD_BETWEEN = 20 * CONNECTIONS;
/** A process that has not closed by then exits with 1. */
const CLOSE_DEADLINE_MS = 10_000;

const { redis, database, servers } = await useServers(FILE);

function environment(): Record<string, string> {
  return { REDIS_URL: redis.url, BUYER_AUTH: 'header', DURABILITY: 'fast' };
}

test('two hot paths on two ports', async (t) => {
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const hotPaths = await Promise.all(
    [1, 2].map(() => useEngineProcess(t, 'hot-path', environment())),
  );
  await Promise.all(hotPaths.map((each) => each.untilReady()));
  const crowd = await useSingleRequestCrowd(
    t,
    hotPaths.map(({ port }) => port),
    saleId,
    { connections: CONNECTIONS },
  );
  for (const round of [0, 1]) {
    await untilMoreAreSold(crowd);
    const leaving = hotPaths[round]!;
    const { code, tookMs } = await leaving.stop();
    assert.equal(code, 0);
    assert.ok(tookMs < CLOSE_DEADLINE_MS / 2, `stopping took ${tookMs} ms`);
    hotPaths[round] = await useEngineProcess(t, 'hot-path', {
      ...environment(),
      HOT_PATH_PORT: String(leaving.port),
    });
    await hotPaths[round].untilReady();
  }
  await untilMoreAreSold(crowd);
  await assertEachSoldOnce(saleId, crowd);
});

test('two workers on one port', async (t) => {
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const group = await useEngineProcess(t, 'hot-path', {
    ...environment(),
    HOT_PATH_WORKERS: '2',
  });
  const workers = await eventually(() => {
    const pids = childrenOf(group.pid);
    assert.equal(pids.length, 2);
    return pids;
  });
  await group.untilReady();
  const crowd = await useSingleRequestCrowd(t, [group.port], saleId, { connections: CONNECTIONS });
  for (const leaving of workers) {
    await untilMoreAreSold(crowd);
    process.kill(leaving, 'SIGTERM');
    await eventually(() => {
      const pids = childrenOf(group.pid);
      assert.ok(pids.length === 2 && !pids.includes(leaving));
    });
    await untilMoreAreSold(crowd);
  }
  await assertEachSoldOnce(saleId, crowd);
  assert.equal((await group.stop()).code, 0);
});

/** Waits until the crowd has bought for a while, so that a restart meets requests in flight on every connection. */
async function untilMoreAreSold({ completed }: SingleRequestCrowd): Promise<void> {
  const before = completed.length;
  await eventually(() => assert.ok(completed.length > before + SOLD_BETWEEN));
}

/** Every buyer has one response and one unit, in Redis and PostgreSQL. */
async function assertEachSoldOnce(saleId: string, crowd: SingleRequestCrowd): Promise<void> {
  await crowd.stop();
  const { completed, lost } = crowd;
  assert.deepEqual(lost, []);
  const counts = countResponses(completed);
  const buyers = completed.length;
  assert.ok(buyers > 1_000, `only ${buyers} buyers`);
  const retried = completed.filter(({ tries }) => tries > 1).length;
  const replayed = counts['200'] ?? 0;
  console.log(`# ${buyers} buyers, ${retried} retried, ${replayed} of them after a decision`);
  // 200: decided, but the connection closed before the response; the retry got the reservation.
  assert.deepEqual(counts, {
    201: buyers - replayed,
    ...(replayed > 0 ? { 200: replayed } : {}),
  });
  assert.ok(replayed <= retried);
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, buyers);
  await eventually(
    async () => {
      const [row] = await servers.sql<{ rows: number; buyers: number }[]>`
        SELECT count(*)::int AS rows, count(DISTINCT buyer_id)::int AS buyers
        FROM reservations WHERE sale_id = ${saleId}`;
      assert.deepEqual({ ...row }, { rows: buyers, buyers });
    },
    { timeoutMs: 20_000 },
  );
  await assertPromisesHold(servers, saleId);
}

function childrenOf(pid: number): number[] {
  try {
    const output = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
    return output.trim().split('\n').map(Number);
  } catch {
    return []; // pgrep exits with 1 when there are none.
  }
}
