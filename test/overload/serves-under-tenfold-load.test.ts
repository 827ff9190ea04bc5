/**
 * Ten times as many buyers as can be served, by the clock: memory stays where it is, whoever cannot be served is told
 * at once, whoever is accepted is right, and afterwards the same process serves as before.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantile, sendAtRate, type Timed } from '../../harness/crowds/open-loop-load.ts';
import { responseName } from '../../harness/crowds/single-request-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { metric, Peaks } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { startCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { use } from '../../harness/use.ts';

const MEMORY = 'process_resident_memory_bytes';
const PENDING = 'flash_sale_pending_requests';

/** One call of five buyers at a time, each call 100 ms: 50 buyers a second, on any machine. */
const SLOW = { BATCH_SIZE_MAX: '5', BATCHES_IN_FLIGHT_MAX: '1' };
const CALL_MS = 100;
const CAPACITY_PER_SECOND = 50;
const OVERLOAD_PER_SECOND = 10 * CAPACITY_PER_SECOND;
const OVERLOAD_MS = 5_000;
const QUIET = { perSecond: CAPACITY_PER_SECOND / 4, durationMs: 3_000 };
/** Two seconds' worth of waiting, twice over: an estimate is one. */
const PENDING_MAX = 4 * CAPACITY_PER_SECOND;
const GROWTH_BYTES_MAX = 96 * 2 ** 20;

test('ten times too many buyers', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const proxy = await use(t, () => startCuttableProxy({ host: '127.0.0.1', port: redis.port }));
  await usePersister(t, redis.url, database.url);
  const { saleId } = await makeSale(servers, { stock: 1_000_000 });
  proxy.delayReplies(CALL_MS);
  const front = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    BUYER_AUTH: 'header',
    // On a machine that is busy with other things no call is given up.
    REDIS_COMMAND_TIMEOUT_MS: '20000',
    ...SLOW,
  });
  await front.untilReady();
  let buyers = 0;
  const press = (load: { perSecond: number; durationMs: number }) =>
    sendAtRate(front.port, {
      ...load,
      request: () => ({
        method: 'POST',
        path: `/v1/sales/${saleId}/buy`,
        headers: { 'X-Buyer-Id': `buyer-${++buyers}` },
      }),
    });

  const before = await press(QUIET);
  assert.deepEqual(namesIn(before), ['201']);
  const quietBytes = await metric(front, MEMORY);

  const peaks = new Peaks(front, [MEMORY, PENDING]);
  const pressed = await press({ perSecond: OVERLOAD_PER_SECOND, durationMs: OVERLOAD_MS });
  const most = await peaks.end();
  const grownBytes = most(MEMORY) - quietBytes;

  assert.deepEqual(namesIn(pressed), ['201', '503 overloaded']);
  const accepted = pressed.filter(({ response }) => response.status === 201);
  const refused = pressed.filter(({ response }) => response.status === 503);
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
  assert.ok(accepted.length > served / 3, 'it goes on serving what it can');
  assert.ok(most(PENDING) > CAPACITY_PER_SECOND && most(PENDING) < PENDING_MAX);
  assert.ok(grownBytes < GROWTH_BYTES_MAX);
  // By the front end's own clock: on a busy machine the buyers here may be late to send and to hear.
  const outcome = 'outcome="overloaded"';
  const told = await metric(front, 'flash_sale_buy_seconds_count', outcome);
  const toldAtOnce = await metric(front, 'flash_sale_buy_seconds_bucket', outcome, 'le="0.005"');
  assert.equal(told, refused.length);
  assert.ok(toldAtOnce > 0.8 * told, `only ${toldAtOnce} of ${told} were told at once`);

  const after = await press(QUIET);
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

function latencies(pressed: readonly Timed[]): number[] {
  return pressed.map(({ latencyMs }) => latencyMs);
}

function namesIn(pressed: readonly Timed[]): string[] {
  return [...new Set(pressed.map(({ response }) => responseName(response)))].sort();
}
