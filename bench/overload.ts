/**
 * Ten times as many buyers as one hot path can serve, at a fixed rate.
 *
 *   npm run bench:overload -- [--write]
 *
 * 1. Redis takes 40 ms for each call of 10 buyers, so the capacity is 250 buyers per second on any machine. A quarter of
 *    that, then ten times that, then a quarter again: how many are served and refused, their latency, and the memory.
 * 2. Redis does not respond for a second, with the default configuration: the memory of one waiting buyer.
 *
 * Exits 1 when a target is missed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { sendAtRate, type Timed } from '../harness/crowds/open-loop-load.ts';
import { responseName } from '../harness/crowds/single-request-crowd.ts';
import { type EngineProcess, useEngineProcess } from '../harness/engine/engine-process.ts';
import { metric, Peaks } from '../harness/engine/metrics.ts';
import { eventually } from '../harness/eventually.ts';
import { startCuttableProxy } from '../harness/network/cuttable-proxy.ts';
import { assertPromisesHold } from '../harness/sales/reservations.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { saleState } from '../harness/sales/stream.ts';
import { useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useRedis } from '../harness/servers/redis.ts';
import { below, loadAverage, percentiles, reportTargets } from './report/targets.ts';

const MEMORY = 'process_resident_memory_bytes';
const PENDING = 'flash_sale_pending_requests';

const CALL_MS = 40;
const BUYERS_PER_CALL = 10;
const CAPACITY_PER_SECOND = (BUYERS_PER_CALL * 1_000) / CALL_MS;
const QUIET = { perSecond: CAPACITY_PER_SECOND / 4, durationMs: 5_000 };
const OVERLOAD = { perSecond: 10 * CAPACITY_PER_SECOND, durationMs: 10_000 };
const STANDSTILL = { perSecond: 4_000, durationMs: 1_000 };

const LIMITS = { grownMiB: 128, refusedP50Ms: 100 };

const options = command(
  'bench:overload',
  'Sends ten times as many buyers as one hot path can serve. Exits 1 when a target is missed.',
)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ write?: boolean }>();

const session = openCommandSession();
let buyers = 0;
const loadBefore = loadAverage();
const [redis, postgres] = await Promise.all([useRedis(session), usePostgres(session)]);
const servers = await useConnections(session, redis.url, postgres.url);
try {
  const persister = await useEngineProcess(session, 'persister', {
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
  });
  await persister.untilReady();
  const overload = await measureOverload();
  const standstill = await measureStandstill();
  const targets = [
    below('overload: memory growth', overload.overload.grownMiB, LIMITS.grownMiB, 'MiB'),
    below('overload: median refusal', overload.overload.refusedMs.p50, LIMITS.refusedP50Ms, 'ms'),
  ];
  const result = {
    bench: 'overload',
    overload,
    standstill,
    targets,
    loadBefore,
    machine: machine('hot path, persister, both servers and the buyers share these cores'),
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
    },
  };
  console.log(JSON.stringify({ overload, standstill }, null, 2));
  await keepBenchResult('overload', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

async function measureOverload() {
  const proxy = await startCuttableProxy({ host: '127.0.0.1', port: redis.port });
  session.after(() => proxy.close());
  proxy.delayReplies(CALL_MS);
  const hotPath = await startHotPath({
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    BATCH_SIZE_MAX: String(BUYERS_PER_CALL),
    BATCHES_IN_FLIGHT_MAX: '1',
    REDIS_COMMAND_TIMEOUT_MS: '20000',
  });
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const before = await send(hotPath, saleId, QUIET);
  const during = await send(hotPath, saleId, OVERLOAD);
  const after = await send(hotPath, saleId, QUIET);
  await assertConsistent(saleId, [before, during, after]);
  await hotPath.stop();
  return {
    capacityPerSecond: CAPACITY_PER_SECOND,
    before: summaryOf(before),
    overload: summaryOf(during),
    after: summaryOf(after),
  };
}

async function measureStandstill() {
  const hotPath = await startHotPath({ REDIS_URL: redis.url });
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const before = await send(hotPath, saleId, { perSecond: 200, durationMs: 1_000 });
  redis.pause();
  const sending = send(hotPath, saleId, STANDSTILL);
  await sleep(STANDSTILL.durationMs);
  redis.resume();
  const during = await sending;
  await assertConsistent(saleId, [before, during]);
  await hotPath.stop();
  const summary = summaryOf(during);
  return {
    ...summary,
    bytesPerWaitingBuyer: Math.round((summary.grownMiB * 2 ** 20) / summary.pendingMax),
  };
}

interface Phase {
  responses: Timed[];
  perSecond: number;
  pendingMax: number;
  grownBytes: number;
}

async function send(
  hotPath: EngineProcess,
  saleId: string,
  load: { perSecond: number; durationMs: number },
): Promise<Phase> {
  session.step(`${load.perSecond} buyers per second …`);
  const path = `/v1/sales/${saleId}/buy`;
  const quietBytes = await metric(hotPath, MEMORY);
  const peaks = new Peaks(hotPath, [MEMORY, PENDING]);
  const responses = await sendAtRate(hotPath.port, {
    ...load,
    request: () => ({ method: 'POST', path, headers: { 'X-Buyer-Id': `buyer-${++buyers}` } }),
  });
  const most = await peaks.end();
  return {
    responses,
    perSecond: load.perSecond,
    pendingMax: most(PENDING),
    grownBytes: most(MEMORY) - quietBytes,
  };
}

/** Every buyer got 201 or `overloaded`, and those with 201 hold exactly the units that are held. */
async function assertConsistent(saleId: string, phases: readonly Phase[]): Promise<void> {
  const responses = phases.flatMap(({ responses: all }) => all.map(({ response }) => response));
  const unexpected = responses.find(
    (each) => !['201', '503 overloaded'].includes(responseName(each)),
  );
  if (unexpected) throw new Error(`a buyer got ${responseName(unexpected)}`);
  const sold = responses.filter(({ status }) => status === 201).length;
  const { stock } = await saleState(servers.shards, saleId);
  if (stock[0]!.held !== sold)
    throw new Error(`${stock[0]!.held} are held, ${sold} buyers got 201`);
  await eventually(() => assertPromisesHold(servers, saleId), { timeoutMs: 60_000 });
}

function summaryOf({ responses, perSecond, pendingMax, grownBytes }: Phase) {
  const latencies = (status: number) =>
    responses
      .filter(({ response }) => response.status === status)
      .map(({ latencyMs }) => latencyMs);
  return {
    requestsPerSecond: perSecond,
    accepted: latencies(201).length,
    acceptedMs: percentiles(latencies(201)),
    refused: latencies(503).length,
    refusedMs: percentiles(latencies(503)),
    pendingMax,
    grownMiB: Math.round(grownBytes / 2 ** 20),
  };
}

async function startHotPath(environment: Record<string, string>): Promise<EngineProcess> {
  const hotPath = await useEngineProcess(session, 'hot-path', {
    BUYER_AUTH: 'header',
    LOG_LEVEL: 'warn',
    ...environment,
  });
  return hotPath.untilReady();
}
