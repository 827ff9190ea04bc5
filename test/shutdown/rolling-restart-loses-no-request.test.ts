/**
 * Front ends are replaced one after the other while buyers press. Nobody hears of it: a client that asks again only
 * when its connection was closed before a byte of the answer is told exactly once what became of its one request.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { countResponses, SingleRequestCrowd } from '../../harness/crowds/single-request-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const CONNECTIONS = 24;
const STEADY_MS = 500;
/** What a process has in which to close before it ends all the same, with 1. */
const CLOSE_DEADLINE_MS = 10_000;

const { redis, database, servers } = await useServers(FILE);

function environment(): Record<string, string> {
  return { REDIS_URL: redis.url, BUYER_AUTH: 'header', DURABILITY: 'fast' };
}

test('two front ends at two addresses', async (t) => {
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  const fronts = await Promise.all(
    [1, 2].map(() => useEngineProcess(t, 'hot-path', environment())),
  );
  await Promise.all(fronts.map((front) => front.untilReady()));
  const crowd = new SingleRequestCrowd(
    fronts.map(({ port }) => port),
    saleId,
    { connections: CONNECTIONS },
  );
  for (const round of [0, 1, 2, 3]) {
    await sleep(STEADY_MS);
    const leaving = fronts[round % 2]!;
    const { code, tookMs } = await leaving.stop();
    assert.equal(code, 0);
    assert.ok(tookMs < CLOSE_DEADLINE_MS / 2, `stopping took ${tookMs} ms`);
    fronts[round % 2] = await useEngineProcess(t, 'hot-path', {
      ...environment(),
      HOT_PATH_PORT: String(leaving.port),
    });
    await fronts[round % 2]!.untilReady();
  }
  await sleep(STEADY_MS);
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
  const crowd = new SingleRequestCrowd([group.port], saleId, { connections: CONNECTIONS });
  for (const leaving of workers) {
    await sleep(STEADY_MS);
    process.kill(leaving, 'SIGTERM');
    await eventually(() => {
      const pids = childrenOf(group.pid);
      assert.ok(pids.length === 2 && !pids.includes(leaving));
    });
    await sleep(2 * STEADY_MS);
  }
  await assertEachSoldOnce(saleId, crowd);
  assert.equal((await group.stop()).code, 0);
});

/** Of this sale: to everybody in the crowd one unit, told once, in Redis and PostgreSQL alike. */
async function assertEachSoldOnce(saleId: string, crowd: SingleRequestCrowd): Promise<void> {
  await crowd.stop();
  const { completed, lost } = crowd;
  assert.deepEqual(lost, []);
  const counts = countResponses(completed);
  const buyers = completed.length;
  assert.ok(buyers > 1_000, `only ${buyers} pressed`);
  const retried = completed.filter(({ tries }) => tries > 1).length;
  const replayed = counts['200'] ?? 0;
  console.log(`# ${buyers} buyers, ${retried} asked again, ${replayed} of them had been sold to`);
  // 200: it was decided, and the connection was closed before the answer; asking again found it.
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
    return []; // pgrep ends with 1 when it finds none.
  }
}
