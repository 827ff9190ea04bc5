/**
 * Open-loop load of ten times the capacity. Memory stays bounded, refused buyers get 503 at once, accepted ones are
 * right, and afterwards the same process serves as before.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantile, sendAtRate, type Timed } from '../../harness/crowds/open-loop-load.ts';
import { responseName } from '../../harness/crowds/single-request-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { metric, Peaks } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';

const MEMORY = 'process_resident_memory_bytes';
const PENDING = 'flash_sale_pending_requests';

/** One script call of five buyers at a time, 100 ms each: 50 buyers a second, on any machine. */
const SLOW = { BATCH_SIZE_MAX: '5', BATCHES_IN_FLIGHT_MAX: '1' };
const CALL_MS = 100;
const CAPACITY_PER_SECOND = 50;
const OVERLOAD_PER_SECOND = 10 * CAPACITY_PER_SECOND;
const OVERLOAD_MS = 3_000;
const QUIET = { perSecond: CAPACITY_PER_SECOND / 4, durationMs: 3_000 };
/** Twice the requests of the two seconds that a queue may take, because its length is estimated. */
const PENDING_MAX = 4 * CAPACITY_PER_SECOND;
/** Many times the requests of a quiet time: there was a queue. */
const PENDING_MIN = 20;
const GROWTH_BYTES_MAX = 96 * 2 ** 20;

test('a hot path under ten times its capacity serves what it can and refuses the rest without queueing it', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port: redis.port });
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  proxy.delayReplies(CALL_MS);
  const hotPath = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    BUYER_AUTH: 'header',
    // Long enough that no call times out on a busy machine.
    REDIS_COMMAND_TIMEOUT_MS: '20000',
    ...SLOW,
  });
  await hotPath.untilReady();
  let buyers = 0;
  const send = (load: { perSecond: number; durationMs: number }) =>
    sendAtRate(hotPath.port, {
      ...load,
      request: () => ({
        method: 'POST',
        path: `/v1/sales/${saleId}/buy`,
        headers: { 'X-Buyer-Id': `buyer-${++buyers}` },
      }),
    });

  const before = await send(QUIET);
  assert.deepEqual(namesIn(before), ['201']);
  const quietBytes = await metric(hotPath, MEMORY);

  const peaks = new Peaks(hotPath, [MEMORY, PENDING]);
  const overload = await send({ perSecond: OVERLOAD_PER_SECOND, durationMs: OVERLOAD_MS });
  const most = await peaks.end();
  const grownBytes = most(MEMORY) - quietBytes;

  assert.deepEqual(namesIn(overload), ['201', '503 overloaded']);
  const accepted = overload.filter(({ response }) => response.status === 201);
  const refused = overload.filter(({ response }) => response.status === 503);
  assert.ok(refused.every(({ response }) => Number(response.headers['retry-after']) > 0));
  const figures = {
    accepted: accepted.length,
    acceptedMs: [0.5, 0.99].map((share) => Math.round(quantile(latencies(accepted), share))),
    refused: refused.length,
    refusedMs: [0.5, 0.99].map((share) => Math.round(quantile(latencies(refused), share))),
    quietMs: Math.round(quantile(latencies(before), 0.5)),
    mostPending: most(PENDING),
    grownMiB: Math.round(grownBytes / 2 ** 20),
  };
  t.diagnostic(JSON.stringify(figures));
  const served = (OVERLOAD_MS / 1_000) * CAPACITY_PER_SECOND;
  assert.ok(accepted.length > served / 3, 'it serves what it can');
  assert.ok(most(PENDING) > PENDING_MIN && most(PENDING) < PENDING_MAX);
  assert.ok(grownBytes < GROWTH_BYTES_MAX);
  // By the hot path's own clock: on a busy machine this process may be late to send and to receive. In the queue, a
  // request waits up to two seconds.
  const outcome = 'outcome="overloaded"';
  const refusals = await metric(hotPath, 'flash_sale_buy_seconds_count', outcome);
  const atOnce = await metric(hotPath, 'flash_sale_buy_seconds_bucket', outcome, 'le="0.5"');
  assert.equal(refusals, refused.length);
  assert.ok(atOnce > 0.8 * refusals, `only ${atOnce} of ${refusals} refusals took less than 0.5 s`);

  const after = await send(QUIET);
  assert.deepEqual(namesIn(after), ['201']);
  const sold = before.length + accepted.length + after.length;
  assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, sold);
  await eventually(async () => {
    const [row] = await servers.sql<{ rows: number }[]>`
      SELECT count(*)::int AS rows FROM reservations WHERE sale_id = ${saleId}`;
    assert.equal(row!.rows, sold);
  });
  await assertPromisesHold(servers, saleId);
});

function latencies(timed: readonly Timed[]): number[] {
  return timed.map(({ latencyMs }) => latencyMs);
}

function namesIn(timed: readonly Timed[]): string[] {
  return [...new Set(timed.map(({ response }) => responseName(response)))].sort();
}
