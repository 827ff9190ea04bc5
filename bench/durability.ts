/**
 * What the durability profiles cost, and how soon a sale sells again after its Redis was killed in the middle of it.
 *
 *   npm run bench:durability -- [--kills 100] [--flushes 20] [--write]
 *
 * 1. Buyers at one front end, one after the other on each of 64 connections, under `fast`, `safe` and `replicated`
 *    (a replica on the same machine): how many are served in a second, and how long each waits.
 * 2. `safe`: Redis is killed by SIGKILL while 20 of them press, again and again, in a sale of few reservations and in
 *    one of 100,000: from Redis answering again to the first yes. Nobody who was told yes may be missing afterwards.
 * 3. Redis is made to forget everything (FLUSHALL) in the same sales, once PostgreSQL has all of it, so that they have
 *    to be rebuilt: from then to the first yes, and how much of that was the recovery.
 *
 * Starts servers and processes of its own. Writes bench/results/durability.json with --write; exits 1 when a bar is
 * missed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { type FrontEnd, RetryingCrowd } from '../harness/crowds/retrying-crowd.ts';
import { eventually } from '../harness/eventually.ts';
import { buyMany } from '../harness/sales/purchases.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { type Connections, connect } from '../harness/servers/connections.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';
import { startReplicated } from '../harness/servers/replication.ts';
import { findFreePorts } from '../src/process/free-port.ts';

const REPOSITORY = join(import.meta.dirname, '..');
const typed = command('bench:durability', 'What durability costs, and how soon a sale is back.')
  .option('--kills <count>', 'of Redis, in each of two sales', wholeNumber, 100)
  .option('--flushes <count>', 'FLUSHALLs in each of them', wholeNumber, 20)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ kills: number; flushes: number; write?: boolean }>();
const KILLS = typed.kills;
const FLUSHES = typed.flushes;
const PROFILES = ['fast', 'safe', 'replicated'] as const;
const CONNECTIONS = 64;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const BARS = { closedP95Ms: 2_000, lost: 0 };
const RECOVERY = { timeoutMs: 30_000 };

const { after, step, close } = openCommandSession();
const loadBefore = rounded(loadavg()[0]!);
const postgres = await startPostgres();
after(() => postgres.stop());
const children: ChildProcess[] = [];
after(() => Promise.all(children.map(end)));
try {
  const costs = await measureCosts();
  const recoveries = [];
  for (const reservations of [0, 100_000]) recoveries.push(await measureRecoveries(reservations));
  const bars = recoveries.flatMap(({ reservations, closedMs, flushed, lost, changedResponses }) => [
    bar(
      `${reservations} reservations: first purchase after the kill, p95`,
      closedMs.p95,
      BARS.closedP95Ms,
    ),
    bar(
      `${reservations} reservations: first purchase after FLUSHALL, p95`,
      flushed.closedMs.p95,
      BARS.closedP95Ms,
    ),
    bar(`${reservations} reservations: acknowledged and lost`, lost, BARS.lost),
    bar(`${reservations} reservations: different response on retry`, changedResponses, 0),
  ]);
  const result = {
    machine: machine('the engine, Redis, PostgreSQL and this program share these cores'),
    loadBefore,
    versions: {
      ...codeVersions(),
      ...(await versionsOf()),
    },
    costs,
    recoveries,
    bars,
  };
  console.table(
    costs.map(({ durability, perSecond, waitMs }) => ({ durability, perSecond, ...waitMs })),
  );
  console.table(
    recoveries.flatMap(({ reservations, closedMs, flushed }) => [
      { reservations, after: 'a kill', ...closedMs },
      { reservations, after: 'FLUSHALL', ...flushed.closedMs },
    ]),
  );
  console.log(JSON.stringify(recoveries, null, 2));
  for (const { name, value, most, ok } of bars) {
    console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}: ${value}, at most ${most}`);
  }
  await keepBenchResult('durability', result, typed);
  if (bars.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  await close();
}

// ---- what a profile costs --------------------------------------------------------------------------------------------

async function measureCosts() {
  const setUps: Awaited<ReturnType<typeof setUp>>[] = [];
  try {
    for (const durability of PROFILES) setUps.push(await setUp(durability));
    // Taking turns, so that whatever else the machine does falls on all. The first round warms up.
    for (let round = 0; round <= ROUNDS; round++) {
      step(`buying under each profile, round ${round} of ${ROUNDS} …`);
      for (const each of setUps) {
        const { frontEnd } = each.engine;
        const crowd = new RetryingCrowd([frontEnd], each.saleId, {
          lanes: CONNECTIONS,
          prefix: `round-${round}`,
        });
        await sleep(ROUND_MS);
        await crowd.stop();
        if (round > 0) each.waitsMs.push(...crowd.waitsMs);
      }
    }
    return setUps.map(({ durability, waitsMs }) => ({
      durability,
      connections: CONNECTIONS,
      perSecond: Math.round(waitsMs.length / ((ROUNDS * ROUND_MS) / 1_000)),
      waitMs: percentiles(waitsMs),
    }));
  } finally {
    for (const each of setUps) await each.tearDown();
  }
}

async function setUp(durability: (typeof PROFILES)[number]) {
  const replicated = durability === 'replicated' ? await startReplicated() : undefined;
  const redis =
    replicated?.master ??
    (await startRedis({ appendfsync: durability === 'fast' ? 'everysec' : 'always' }));
  after(() => (replicated ?? redis).stop());
  const servers = await connect(redis.url, postgres.url);
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const engine = await startEngine(redis.url, durability);
  const tearDown = async () => {
    await engine.end();
    await forget(servers, saleId);
    await servers.close();
    await (replicated ?? redis).stop();
  };
  return { durability, saleId, engine, waitsMs: [] as number[], tearDown };
}

// ---- recoveries ------------------------------------------------------------------------------------------------------

async function measureRecoveries(reservations: number) {
  step(`${KILLS} kills and ${FLUSHES} FLUSHALLs in a sale of ${reservations} reservations …`);
  const redis = await startRedis();
  after(() => redis.stop());
  const servers = await connect(redis.url, postgres.url);
  const { saleId } = await makeSale(servers, { stock: 10_000_000 });
  const engine = await startEngine(redis.url, 'safe');
  try {
    await buyMany(servers.shards, saleId, { count: reservations, batchSize: 100 });
    await eventually(async () => {
      const rows = await rowCount(servers, saleId);
      if (rows < reservations) throw new Error(`${rows} are in PostgreSQL`);
    }, RECOVERY);
    // A front end that has not seen a sale cannot know that it was forgotten.
    await fetch(`${engine.url}/v1/sales/${saleId}`);
    // Before the kills, while the sale is as large as it is said to be.
    const flushed = await measureFlushes();
    const crowd = new RetryingCrowd([engine.frontEnd], saleId, { lanes: 20 });
    const [closed, loading]: number[][] = [[], []];
    for (let kill = 0; kill < KILLS; kill++) {
      const toldBefore = crowd.sold.size;
      await eventually(() => {
        if (crowd.sold.size < toldBefore + 50) throw new Error('nobody buys');
      }, RECOVERY);
      await sleep(Math.random() * 50);
      await redis.kill();
      const startedAt = performance.now();
      await redis.start();
      const backAt = performance.now();
      const closedMs = await eventually(() => {
        const found = crowd.firstSaleAfter(backAt);
        if (found === undefined) throw new Error('nobody can buy again');
        return found;
      }, RECOVERY);
      closed!.push(closedMs);
      loading!.push(backAt - startedAt);
    }
    await crowd.stop();
    const differentResponses = await crowd.differentResponses(engine.frontEnd);
    const lostToKills = await missingOf(servers, saleId, crowd);
    return {
      reservations,
      kills: KILLS,
      acknowledged: crowd.sold.size,
      retriesRequested: crowd.retries,
      lost: lostToKills + flushed.lost,
      changedResponses: differentResponses.length,
      /** From starting Redis to its first answer, and from there to the first yes. */
      startMs: percentiles(loading!),
      closedMs: percentiles(closed!),
      flushed,
    };
  } finally {
    await engine.end();
    await forget(servers, saleId);
    await servers.close();
    await redis.stop();
  }

  /** What Redis alone knows would be lost with it, so nobody presses until PostgreSQL has everything. */
  async function measureFlushes() {
    const closed: number[] = [];
    let [acknowledged, retriesRequested, lost] = [0, 0, 0];
    for (let flush = 0; flush < FLUSHES; flush++) {
      await servers.shards.of(saleId).client.flushall();
      const forgotAt = performance.now();
      const prefix = `flush-${flush}`;
      const crowd = new RetryingCrowd([engine.frontEnd], saleId, { lanes: 20, prefix });
      const closedMs = await eventually(() => {
        const found = crowd.firstSaleAfter(forgotAt);
        if (found === undefined) throw new Error('nobody can buy again');
        return found;
      }, RECOVERY);
      await crowd.stop();
      closed.push(closedMs);
      acknowledged += crowd.sold.size;
      retriesRequested += crowd.retries;
      lost += await missingOf(servers, saleId, crowd);
    }
    const rebuilt = await servers.sql<{ ms: number }[]>`
      SELECT (report->>'seconds')::float8 * 1000 AS ms FROM sale_recoveries
      WHERE sale_id = ${saleId} AND outcome = 'rebuilt'`;
    return {
      flushes: FLUSHES,
      acknowledged,
      retriesRequested,
      lost,
      /** From FLUSHALL to the first yes; and the recovery's part of it, by its own report. */
      closedMs: percentiles(closed),
      recoveryMs: percentiles(rebuilt.map(({ ms }) => ms)),
    };
  }
}

/** Or the persisters of what is measured next would rebuild this sale, too. */
async function forget({ sql }: Connections, saleId: string): Promise<void> {
  await sql`DELETE FROM sales WHERE sale_id = ${saleId}`;
}

async function rowCount({ sql }: Connections, saleId: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
  return row!.count;
}

/** Of those who were told yes, how many are not in PostgreSQL under the id that they were told, when all had time. */
async function missingOf(
  { sql }: Connections,
  saleId: string,
  crowd: RetryingCrowd,
): Promise<number> {
  const deadlineMs = performance.now() + RECOVERY.timeoutMs;
  for (;;) {
    const rows = await sql<{ reservationId: string }[]>`
      SELECT reservation_id FROM reservations WHERE sale_id = ${saleId}`;
    const known = new Set(rows.map(({ reservationId }) => reservationId));
    const missing = [...crowd.sold.values()].filter((id) => !known.has(id)).length;
    if (missing === 0 || performance.now() > deadlineMs) return missing;
    await sleep(100);
  }
}

// ---- processes -------------------------------------------------------------------------------------------------------

/** A front end and a persister. */
async function startEngine(redisUrl: string, durability: string) {
  const [hotPathPort, persisterPort] = (await findFreePorts(2)) as [number, number];
  const environment = { REDIS_URL: redisUrl, DURABILITY: durability };
  const mine = [
    start('hot-path', { ...environment, BUYER_AUTH: 'header', HOT_PATH_PORT: `${hotPathPort}` }),
    start('persister', {
      ...environment,
      DATABASE_URL: postgres.url,
      PERSISTER_PORT: `${persisterPort}`,
    }),
  ];
  await Promise.all([hotPathPort, persisterPort].map(untilReady));
  const url = `http://127.0.0.1:${hotPathPort}`;
  const pool = new Pool(url, { connections: 64 });
  const frontEnd: FrontEnd = {
    buy: async (saleId, buyer, { key }) => {
      const response = await pool.request({
        path: `/v1/sales/${saleId}/buy`,
        method: 'POST',
        headers: { 'x-buyer-id': buyer, 'idempotency-key': key },
      });
      const headers = response.headers as Record<string, string>;
      return { status: response.statusCode, headers, body: await response.body.json() };
    },
  };
  return {
    url,
    frontEnd,
    end: async () => {
      await pool.destroy();
      await Promise.all(mine.map(end));
    },
  };
}

function start(name: 'persister' | 'hot-path', environment: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [join(REPOSITORY, 'src/main.ts'), name], {
    env: { PATH: process.env.PATH, LOG_LEVEL: process.env.LOG_LEVEL ?? 'fatal', ...environment },
    // Over the channel it learns that this program is gone, however it ended.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  children.push(child);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

async function untilReady(port: number): Promise<void> {
  await eventually(async () => {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    if (response.status !== 200) throw new Error(await response.text());
  }, RECOVERY);
}

async function versionsOf() {
  const redis = await startRedis();
  try {
    return await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url });
  } finally {
    await redis.stop();
  }
}

// ---- figures ---------------------------------------------------------------------------------------------------------

function percentiles(values: readonly number[]) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => rounded(sorted[Math.ceil(share * sorted.length) - 1] ?? 0);
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

function bar(name: string, value: number, most: number) {
  return { name, value, most, ok: value <= most };
}
