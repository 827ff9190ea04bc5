/**
 * How soon unpaid and cancelled units can be bought again, with `appendfsync always`.
 *
 *   npm run bench:expiry -- [--write]
 *
 * 1. 10,000 holds of one sale expire in the same second; they were decided in batches of 100 and one by one. Measures
 *    how long after its deadline a unit is back in stock, and how long one call of the sweep occupies Redis.
 * 2. The only unit of a sold-out sale is cancelled through one hot path. Measures the time until a buyer who keeps
 *    trying at another hot path has it.
 *
 * Exits 1 when a target is missed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { useEngineProcess } from '../harness/engine/engine-process.ts';
import { eventually } from '../harness/eventually.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useRedis } from '../harness/servers/redis.ts';
import { newTag } from '../src/domain/identifiers.ts';
import { reserve } from '../src/lua/buy/reserve.ts';
import { HOLDS_PER_CALL, sweep } from '../src/lua/buy/sweep.ts';
import { readSale } from '../src/lua/read/read-sale.ts';
import { JWT_SECRET, tokenOf } from './load/buyers.ts';
import { below, loadAverage, percentiles, reportTargets } from './report/targets.ts';

const HOLDS = 10_000;
const HOLD_SECONDS = 4;
/** Calls of `reserve` in flight, so that deciding one by one takes about a second as well. */
const CALLS_IN_FLIGHT = 100;
const POLL_MS = 5;
const RELEASES = 300;
const RETRY_MS = 2;
const LIMITS = { delayP99Ms: 1_000, sweepCallMaxMs: 5, releaseP99Ms: 200 };

const options = command(
  'bench:expiry',
  'Measures how soon unpaid and cancelled units can be bought again. Exits 1 when a target is missed.',
)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ write?: boolean }>();

const session = openCommandSession();
/** Other work on the machine interrupts Redis during a call, which counts as time of the call. */
const loadBefore = loadAverage();
const [redis, postgres] = await Promise.all([useRedis(session), usePostgres(session)]);
const servers = await useConnections(session, redis.url, postgres.url);
const environment = {
  REDIS_URL: redis.url,
  DATABASE_URL: postgres.url,
  JWT_SECRET,
  LOG_LEVEL: 'warn',
};
try {
  const expiries = [await measureExpiry(100), await measureExpiry(1)];
  const release = await measureRelease();
  const targets = [
    ...expiries.flatMap(({ batchSize, delayMs, sweepCallMs }) => [
      below(
        `batches of ${batchSize}: p99 delay over the deadline`,
        delayMs.p99,
        LIMITS.delayP99Ms,
        'ms',
      ),
      below(
        `batches of ${batchSize}: longest sweep call`,
        sweepCallMs.max,
        LIMITS.sweepCallMaxMs,
        'ms',
      ),
    ]),
    below('release to the next purchase: p99', release.sentMs.p99, LIMITS.releaseP99Ms, 'ms'),
  ];
  const result = {
    machine: machine('the engine, Redis, PostgreSQL and this program share these cores'),
    loadBefore,
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
      durability: 'safe',
    },
    expiries,
    release,
    targets,
  };
  console.log(JSON.stringify({ expiries, release }, null, 2));
  await keepBenchResult('expiry', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

// ---- holds that expire -----------------------------------------------------------------------------------------------

async function measureExpiry(batchSize: number) {
  session.step(`${HOLDS} holds, decided ${batchSize} at a time …`);
  const persister = await useEngineProcess(session, 'persister', environment);
  const { saleId } = await makeSale(servers, { stock: HOLDS, holdSeconds: HOLD_SECONDS });
  await persister.untilReady();

  await holdAll(saleId, batchSize);
  await logEveryCall(saleId);
  const seen = await watchStockReturn(saleId);
  const { sweepCalls, readCalls } = await callsMs(saleId);

  const rows = await eventually(async () => {
    const found = await servers.sql<{ delayMs: number; expiresMs: number }[]>`
      SELECT extract(epoch FROM occurred_at - expires_at)::float8 * 1000 AS delay_ms,
        extract(epoch FROM expires_at)::float8 * 1000 AS expires_ms
      FROM reservation_events JOIN reservations USING (sale_id, reservation_id)
      WHERE sale_id = ${saleId} AND reservation_events.version = 2
      ORDER BY expires_at`;
    if (found.length < HOLDS) throw new Error(`${found.length} of ${HOLDS} are in PostgreSQL`);
    return found;
  });
  await persister.stop();
  const deadlines = rows.map(({ expiresMs }) => expiresMs);
  return {
    holds: HOLDS,
    batchSize,
    persisters: 1,
    holdsPerSweepCall: HOLDS_PER_CALL,
    deadlinesSpreadMs: Math.round(deadlines.at(-1)! - deadlines[0]!),
    /** By the events: when the script expired the hold, against its deadline. */
    delayMs: percentiles(rows.map(({ delayMs }) => delayMs)),
    /** By polling the sale: when the n-th unit was back, against the n-th deadline. */
    seenDelayMs: percentiles(deadlines.map((deadline, index) => seen[index]! - deadline)),
    sweepCallMs: { calls: sweepCalls.length, ...percentiles(sweepCalls) },
    /** Reads of the sale meanwhile are always the same little work. Longer calls show interference by the machine. */
    readCallMs: { calls: readCalls.length, ...percentiles(readCalls) },
  };
}

async function holdAll(saleId: string, batchSize: number): Promise<void> {
  let next = 0;
  const callInSequence = async () => {
    while (next < HOLDS) {
      const from = next;
      next += batchSize;
      const requests = Array.from({ length: batchSize }, (_, index) => ({
        buyerId: `buyer-${from + index}`,
        idempotencyKey: `key-of-buyer-${from + index}`,
        items: 'unit*1',
        requestId: `request-of-buyer-${from + index}`,
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      }));
      const call = { tag: newTag(), backlogMax: 2_000_000, requests };
      for (const { outcome } of await servers.shards.call(reserve, saleId, call)) {
        if (outcome !== 'reserved') throw new Error(`the outcome of a purchase was ${outcome}`);
      }
    }
  };
  await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, callInSequence));
}

/** `[i]`: when unit i + 1 was first seen back in stock, by Redis' clock. */
async function watchStockReturn(saleId: string): Promise<number[]> {
  const seen: number[] = [];
  const deadlineMs = performance.now() + (HOLD_SECONDS + 30) * 1_000;
  while (seen.length < HOLDS) {
    const reply = await servers.shards.call(readSale, saleId);
    if (reply.outcome !== 'known') throw new Error(`the sale is ${reply.outcome}`);
    while (seen.length < reply.state.stock[0]!.remaining) seen.push(reply.state.nowMs);
    if (performance.now() > deadlineMs) throw new Error(`only ${seen.length} units came back`);
    await sleep(POLL_MS);
  }
  return seen;
}

/** From here on the slow log has every call, therefore also the longest sweep. */
async function logEveryCall(saleId: string): Promise<void> {
  const { client } = servers.shards.of(saleId);
  await client.config('SET', 'slowlog-max-len', '100000');
  await client.config('SET', 'slowlog-log-slower-than', '0');
  await client.slowlog('RESET');
}

async function callsMs(saleId: string) {
  const { client } = servers.shards.of(saleId);
  await client.config('SET', 'slowlog-log-slower-than', '-1');
  const entries = (await client.slowlog('GET', 100_000)) as [
    number,
    number,
    microseconds: number,
    command: string[],
  ][];
  const callsOf = ({ sha1 }: { sha1: string }) =>
    entries
      .filter(([, , , words]) => words[1] === sha1)
      .map(([, , microseconds]) => microseconds / 1_000)
      .sort((a, b) => b - a);
  return {
    // As many as all holds need. Calls that find nothing would only improve the percentiles.
    sweepCalls: callsOf(sweep).slice(0, HOLDS / HOLDS_PER_CALL),
    readCalls: callsOf(readSale),
  };
}

// ---- cancelled reservations ------------------------------------------------------------------------------------------

async function measureRelease() {
  session.step(`${RELEASES} cancellations, each followed by a purchase at another hot path …`);
  const processes = [
    await useEngineProcess(session, 'hot-path', environment),
    await useEngineProcess(session, 'hot-path', environment),
  ];
  await Promise.all(processes.map((each) => each.untilReady()));
  const pools = processes.map(({ url }) => new Pool(url, { connections: 4 }));
  const { saleId } = await makeSale(servers, { stock: 1 });
  const buy = (pool: Pool, token: string) => post(pool, `/v1/sales/${saleId}/buy`, token);

  const sentMs: number[] = [];
  const responseMs: number[] = [];
  let owner = tokenOf('owner-0');
  let reservationId = (await buy(pools[0]!, owner)).body.reservationId;
  for (let round = 1; round <= RELEASES; round++) {
    const [owners, others] = round % 2 ? [pools[0]!, pools[1]!] : [pools[1]!, pools[0]!];
    const next = tokenOf(`owner-${round}`);
    const success = retryUntilBought(() => buy(others, next));
    // The next buyer gets "sold out" a few times before the cancellation.
    await sleep(20 + Math.random() * 20);
    const sentAt = performance.now();
    const { status } = await post(owners, `/v1/reservations/${reservationId}/cancel`, owner);
    const respondedAt = performance.now();
    if (status !== 200) throw new Error(`the response to a cancellation was ${status}`);
    const { at, body } = await success;
    sentMs.push(at - sentAt);
    responseMs.push(Math.max(0, at - respondedAt));
    owner = next;
    reservationId = body.reservationId;
  }
  await Promise.all(pools.map((pool) => pool.close()));
  return {
    tries: RELEASES,
    hotPaths: 2,
    retryAfterMs: RETRY_MS,
    /** From the cancellation sent, and from its response, to the other buyer's 201. */
    sentMs: percentiles(sentMs),
    responseMs: percentiles(responseMs),
  };
}

interface Reply {
  status: number;
  body: { reservationId: string; code?: string };
}

async function retryUntilBought(buy: () => Promise<Reply>) {
  for (;;) {
    const { status, body } = await buy();
    if (status === 201) return { at: performance.now(), body };
    if (status !== 409) throw new Error(`the response to a purchase was ${status} ${body.code}`);
    await sleep(RETRY_MS);
  }
}

async function post(pool: Pool, path: string, token: string): Promise<Reply> {
  const response = await pool.request({
    path,
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  return { status: response.statusCode, body: (await response.body.json()) as Reply['body'] };
}
