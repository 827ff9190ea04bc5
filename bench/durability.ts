/**
 * What the durability profiles cost, and how soon a sale sells again after Redis was killed.
 *
 *   npm run bench:durability -- [--kills 100] [--flushes 20] [--write]
 *
 * 1. Purchases on 64 connections to one hot path under `fast`, `safe` and `replicated` (a replica on the same machine):
 *    how many per second, and their latency.
 * 2. `safe`: SIGKILL to Redis while 20 connections buy, repeatedly, in an empty sale and in one of 100,000
 *    reservations: the time from Redis' first reply to the first purchase. No acknowledged reservation may be missing.
 * 3. FLUSHALL in the same sales, after PostgreSQL has everything, so that a recovery must rebuild them: the time to the
 *    first purchase, and the share of the recovery.
 *
 * Exits 1 when a target is missed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { RetryingCrowd } from '../harness/crowds/retrying-crowd.ts';
import { eventually } from '../harness/eventually.ts';
import { buyMany } from '../harness/sales/purchases.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { type Connections, useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useRedis } from '../harness/servers/redis.ts';
import { useReplicated } from '../harness/servers/replication.ts';
import { type PurchasingEngine, startPurchasingEngine } from './measure/purchasing-engine.ts';
import { atMost, loadAverage, percentiles, reportTargets } from './report/targets.ts';

const PROFILES = ['fast', 'safe', 'replicated'] as const;
const CONNECTIONS = 64;
const CONNECTIONS_DURING_KILLS = 20;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const STOCK = 10_000_000;
const FIRST_PURCHASE_P95_MS_MAX = 2_000;
const RECOVERY = { timeoutMs: 30_000 };

const options = command(
  'bench:durability',
  'Measures what durability costs, and how soon a sale recovers. Exits 1 when a target is missed.',
)
  .option('--kills <count>', 'SIGKILLs to Redis, in each of two sales', wholeNumber, 100)
  .option('--flushes <count>', 'FLUSHALLs in each of them', wholeNumber, 20)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ kills: number; flushes: number; write?: boolean }>();

const session = openCommandSession();
const loadBefore = loadAverage();
const postgres = await usePostgres(session);
try {
  const costs = await measureCosts();
  const recoveries = [];
  for (const reservations of [0, 100_000]) recoveries.push(await measureRecoveries(reservations));
  const targets = recoveries.flatMap(
    ({ reservations, closedMs, flushed, lost, changedResponses }) => {
      const sale = `${reservations} reservations`;
      return [
        atMost(
          `${sale}: first purchase after the kill, p95`,
          closedMs.p95,
          FIRST_PURCHASE_P95_MS_MAX,
          'ms',
        ),
        atMost(
          `${sale}: first purchase after FLUSHALL, p95`,
          flushed.closedMs.p95,
          FIRST_PURCHASE_P95_MS_MAX,
          'ms',
        ),
        atMost(`${sale}: acknowledged and lost`, lost, 0),
        atMost(`${sale}: different response on retry`, changedResponses, 0),
      ];
    },
  );
  const redis = await useRedis(session);
  const result = {
    machine: machine('the engine, Redis, PostgreSQL and this program share these cores'),
    loadBefore,
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
    },
    costs,
    recoveries,
    targets,
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
  await keepBenchResult('durability', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

async function measureCosts() {
  const setUps: Awaited<ReturnType<typeof setUp>>[] = [];
  for (const durability of PROFILES) setUps.push(await setUp(durability));
  // The profiles take turns, so that other work on the machine disturbs all of them. The first round is a warm-up.
  for (let round = 0; round <= ROUNDS; round++) {
    session.step(`buying under each profile, round ${round} of ${ROUNDS} …`);
    for (const { engine, saleId, waitsMs } of setUps) {
      const crowd = new RetryingCrowd([engine.hotPath], saleId, {
        lanes: CONNECTIONS,
        prefix: `round-${round}`,
      });
      await sleep(ROUND_MS);
      await crowd.stop();
      if (round > 0) waitsMs.push(...crowd.waitsMs);
    }
  }
  for (const each of setUps) await each.tearDown();
  return setUps.map(({ durability, waitsMs }) => ({
    durability,
    connections: CONNECTIONS,
    perSecond: Math.round(waitsMs.length / ((ROUNDS * ROUND_MS) / 1_000)),
    waitMs: percentiles(waitsMs),
  }));
}

async function setUp(durability: (typeof PROFILES)[number]) {
  const redis =
    durability === 'replicated'
      ? (await useReplicated(session)).master
      : await useRedis(session, { appendfsync: durability === 'fast' ? 'everysec' : 'always' });
  const servers = await useConnections(session, redis.url, postgres.url);
  const { saleId } = await makeSale(servers, { stock: STOCK });
  const engine = await startEngine(redis.url, durability);
  const tearDown = async () => {
    await engine.stop();
    await deleteSale(servers, saleId);
  };
  return { durability, saleId, engine, waitsMs: [] as number[], tearDown };
}

async function measureRecoveries(reservations: number) {
  const { kills, flushes } = options;
  session.step(
    `${kills} kills and ${flushes} FLUSHALLs in a sale of ${reservations} reservations …`,
  );
  const redis = await useRedis(session);
  const servers = await useConnections(session, redis.url, postgres.url);
  const { saleId } = await makeSale(servers, { stock: STOCK });
  const engine = await startEngine(redis.url, 'safe');
  await buyMany(servers.shards, saleId, { count: reservations, batchSize: 100 });
  await eventually(async () => {
    const rows = await rowCount(servers, saleId);
    if (rows < reservations) throw new Error(`${rows} rows are in PostgreSQL`);
  }, RECOVERY);
  // A hot path detects the loss only of a sale that it has read before.
  await fetch(`${engine.url}/v1/sales/${saleId}`);
  // First, because the purchases during the kills enlarge the sale.
  const flushed = await measureFlushes(engine, servers, saleId);
  const crowd = new RetryingCrowd([engine.hotPath], saleId, { lanes: CONNECTIONS_DURING_KILLS });
  const [closed, loading]: [number[], number[]] = [[], []];
  for (let kill = 0; kill < kills; kill++) {
    const soldBefore = crowd.sold.size;
    await eventually(() => {
      if (crowd.sold.size < soldBefore + 50) throw new Error('too few purchases');
    }, RECOVERY);
    await sleep(Math.random() * 50);
    await redis.kill();
    const startedAt = performance.now();
    await redis.start();
    const backAt = performance.now();
    closed.push(await firstSaleAfter(crowd, backAt));
    loading.push(backAt - startedAt);
  }
  await crowd.stop();
  const differentResponses = await crowd.differentResponses(engine.hotPath);
  const lostToKills = await missingOf(servers, saleId, crowd);
  await engine.stop();
  await deleteSale(servers, saleId);
  return {
    reservations,
    kills,
    acknowledged: crowd.sold.size,
    retriesRequested: crowd.retries,
    lost: lostToKills + flushed.lost,
    changedResponses: differentResponses.length,
    /** From the start of Redis to its first reply, and from there to the first purchase. */
    startMs: percentiles(loading),
    closedMs: percentiles(closed),
    flushed,
  };
}

/** Data that only Redis has would be lost, so no buyer sends a request until PostgreSQL has everything. */
async function measureFlushes(engine: PurchasingEngine, servers: Connections, saleId: string) {
  const { flushes } = options;
  const closed: number[] = [];
  let [acknowledged, retriesRequested, lost] = [0, 0, 0];
  for (let flush = 0; flush < flushes; flush++) {
    await servers.shards.of(saleId).client.flushall();
    const flushedAt = performance.now();
    const crowd = new RetryingCrowd([engine.hotPath], saleId, {
      lanes: CONNECTIONS_DURING_KILLS,
      prefix: `flush-${flush}`,
    });
    closed.push(await firstSaleAfter(crowd, flushedAt));
    await crowd.stop();
    acknowledged += crowd.sold.size;
    retriesRequested += crowd.retries;
    lost += await missingOf(servers, saleId, crowd);
  }
  const rebuilt = await servers.sql<{ ms: number }[]>`
    SELECT (report->>'seconds')::float8 * 1000 AS ms FROM sale_recoveries
    WHERE sale_id = ${saleId} AND outcome = 'rebuilt'`;
  return {
    flushes,
    acknowledged,
    retriesRequested,
    lost,
    /** From FLUSHALL to the first purchase, and the recovery's part of it by its own report. */
    closedMs: percentiles(closed),
    recoveryMs: percentiles(rebuilt.map(({ ms }) => ms)),
  };
}

function firstSaleAfter(crowd: RetryingCrowd, moment: number): Promise<number> {
  return eventually(() => {
    const found = crowd.firstSaleAfter(moment);
    if (found === undefined) throw new Error('no purchase has succeeded');
    return found;
  }, RECOVERY);
}

/** Otherwise the persisters of the next measurement would recover this sale too. */
async function deleteSale({ sql }: Connections, saleId: string): Promise<void> {
  await sql`DELETE FROM sales WHERE sale_id = ${saleId}`;
}

async function rowCount({ sql }: Connections, saleId: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId}`;
  return row!.count;
}

/** How many acknowledged reservations are not in PostgreSQL. Waits for the persister first. */
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

function startEngine(redisUrl: string, durability: string): Promise<PurchasingEngine> {
  return startPurchasingEngine(session, {
    redisUrl,
    databaseUrl: postgres.url,
    durability,
    connections: CONNECTIONS,
  });
}
