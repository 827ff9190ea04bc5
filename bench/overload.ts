/**
 * Ten times as many buyers as one front end can serve, by the clock.
 *
 *   npm run bench:overload -- [--write]
 *
 * 1. A Redis that takes 40 ms for each call of 10 buyers: 250 buyers a second, whatever the machine. A quarter of that,
 *    then ten times that, then a quarter again: who is served and refused, how fast, and what it takes of memory.
 * 2. A Redis that answers nothing for a second, on an engine as it comes: what one waiting buyer takes of memory.
 *
 * Starts servers and processes of its own. Writes bench/results/overload.json with --write; exits 1 when a bar is
 * missed.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { quantile, sendAtRate, type Timed } from '../harness/crowds/open-loop-load.ts';
import { responseName } from '../harness/crowds/single-request-crowd.ts';
import { type EngineProcess, useEngineProcess } from '../harness/engine/engine-process.ts';
import { metric, Peaks } from '../harness/engine/metrics.ts';
import { eventually } from '../harness/eventually.ts';
import { startCuttableProxy } from '../harness/network/cuttable-proxy.ts';
import { assertPromisesHold } from '../harness/sales/reservations.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { saleState } from '../harness/sales/stream.ts';
import { connect } from '../harness/servers/connections.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';

const MEMORY = 'process_resident_memory_bytes';
const PENDING = 'flash_sale_pending_requests';

const CALL_MS = 40;
const BUYERS_PER_CALL = 10;
const CAPACITY_PER_SECOND = (BUYERS_PER_CALL * 1_000) / CALL_MS;
const QUIET = { perSecond: CAPACITY_PER_SECOND / 4, durationMs: 5_000 };
const OVERLOAD = { perSecond: 10 * CAPACITY_PER_SECOND, durationMs: 10_000 };
const STANDSTILL = { perSecond: 4_000, durationMs: 1_000 };

const BARS = { grownMiB: 128, refusedP50Ms: 100 };

const typed = command('bench:overload', 'Ten times as many buyers as one front end can serve.')
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ write?: boolean }>();

const session = openCommandSession();
let buyers = 0;
const loadBefore = Math.round(loadavg()[0]! * 100) / 100;
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
session.after(() => Promise.all([redis.stop(), postgres.stop()]));
const servers = await connect(redis.url, postgres.url);
session.after(() => servers.close());
try {
  const persister = await useEngineProcess(session, 'persister', {
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
  });
  await persister.untilReady();
  const overload = await measureOverload();
  const standstill = await measureStandstill();
  const bars = [
    bar('overload: memory growth, MiB', overload.overload.grownMiB, BARS.grownMiB),
    bar('overload: median refusal, ms', overload.overload.refusedMs.p50, BARS.refusedP50Ms),
  ];
  const result = {
    bench: 'overload',
    overload,
    standstill,
    bars,
    loadBefore,
    machine: machine('hot path, persister, both servers and the buyers share these cores'),
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
    },
  };
  console.log(JSON.stringify({ overload, standstill }, null, 2));
  for (const { name, value, below, ok } of bars) {
    console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}: ${value}, must be below ${below}`);
  }
  await keepBenchResult('overload', result, typed);
  if (bars.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  await session.close();
}

async function measureOverload() {
  const proxy = await startCuttableProxy({ host: '127.0.0.1', port: redis.port });
  session.after(() => proxy.close());
  proxy.delayReplies(CALL_MS);
  const front = await startFrontEnd({
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    BATCH_SIZE_MAX: String(BUYERS_PER_CALL),
    BATCHES_IN_FLIGHT_MAX: '1',
    REDIS_COMMAND_TIMEOUT_MS: '20000',
  });
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const before = await press(front, saleId, QUIET);
  const during = await press(front, saleId, OVERLOAD);
  const after = await press(front, saleId, QUIET);
  await assertRight(saleId, [before, during, after]);
  await front.stop();
  return {
    capacityPerSecond: CAPACITY_PER_SECOND,
    before: summaryOf(before),
    overload: summaryOf(during),
    after: summaryOf(after),
  };
}

async function measureStandstill() {
  const front = await startFrontEnd({ REDIS_URL: redis.url });
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const before = await press(front, saleId, { perSecond: 200, durationMs: 1_000 });
  redis.pause();
  const pressing = press(front, saleId, STANDSTILL);
  await sleep(STANDSTILL.durationMs);
  redis.resume();
  const during = await pressing;
  await assertRight(saleId, [before, during]);
  await front.stop();
  const summary = summaryOf(during);
  return {
    ...summary,
    bytesPerWaitingBuyer: Math.round((summary.grownMiB * 2 ** 20) / summary.pendingMax),
  };
}

interface Pressed {
  pressed: Timed[];
  perSecond: number;
  pendingMax: number;
  grownBytes: number;
}

async function press(
  front: EngineProcess,
  saleId: string,
  load: { perSecond: number; durationMs: number },
): Promise<Pressed> {
  session.step(`${load.perSecond} buyers a second …`);
  const path = `/v1/sales/${saleId}/buy`;
  const quietBytes = await metric(front, MEMORY);
  const peaks = new Peaks(front, [MEMORY, PENDING]);
  const pressed = await sendAtRate(front.port, {
    ...load,
    request: () => ({ method: 'POST', path, headers: { 'X-Buyer-Id': `buyer-${++buyers}` } }),
  });
  const most = await peaks.end();
  return {
    pressed,
    perSecond: load.perSecond,
    pendingMax: most(PENDING),
    grownBytes: most(MEMORY) - quietBytes,
  };
}

/** Everybody was served or told to come back, whoever was told yes has it, and nobody else has anything. */
async function assertRight(saleId: string, phases: readonly Pressed[]): Promise<void> {
  const answers = phases.flatMap(({ pressed }) => pressed.map(({ response }) => response));
  const strange = answers.find((each) => !['201', '503 overloaded'].includes(responseName(each)));
  if (strange) throw new Error(`a buyer was told ${responseName(strange)}`);
  const sold = answers.filter(({ status }) => status === 201).length;
  const { stock } = await saleState(servers.shards, saleId);
  if (stock[0]!.held !== sold) throw new Error(`${stock[0]!.held} are held, ${sold} were told yes`);
  await eventually(() => assertPromisesHold(servers, saleId), { timeoutMs: 60_000 });
}

function summaryOf({ pressed, perSecond, pendingMax, grownBytes }: Pressed) {
  const told = (status: number) =>
    pressed.filter(({ response }) => response.status === status).map(({ latencyMs }) => latencyMs);
  return {
    requestsPerSecond: perSecond,
    accepted: told(201).length,
    acceptedMs: percentiles(told(201)),
    refused: told(503).length,
    refusedMs: percentiles(told(503)),
    pendingMax,
    grownMiB: Math.round(grownBytes / 2 ** 20),
  };
}

async function startFrontEnd(environment: Record<string, string>): Promise<EngineProcess> {
  const front = await useEngineProcess(session, 'hot-path', {
    BUYER_AUTH: 'header',
    LOG_LEVEL: 'warn',
    ...environment,
  });
  return front.untilReady();
}

function percentiles(values: readonly number[]) {
  const at = (share: number) => Math.round(quantile(values, share) * 10) / 10;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function bar(name: string, value: number, below: number) {
  return { name, value, below, ok: value < below };
}
