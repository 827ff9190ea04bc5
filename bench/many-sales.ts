/**
 * What many sales cost that nobody buys from.
 *
 *   npm run bench:many-sales -- [--write] [--rounds 3]
 *
 * 1. Redis is killed, or loses its data by FLUSHALL, while a buyer keeps trying. Measures the time until the first
 *    purchase, for one open sale alone, and for the same beside 2,000 ended and 5,000 archived sales.
 * 2. 2,000 open sales without buyers. Measures the persister's CPU, Redis' commands, how long a single reservation takes
 *    to be durable, and how late single holds expire.
 *
 * Exits 1 when a target is missed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { type EngineProcess, useEngineProcess } from '../harness/engine/engine-process.ts';
import { eventually } from '../harness/eventually.ts';
import { addArchivedSales, makeSales } from '../harness/sales/many-sales.ts';
import { buy } from '../harness/sales/purchases.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { useStoppableServers } from '../harness/servers/connections.ts';
import { JWT_SECRET, tokenOf } from './load/buyers.ts';
import { cpuSecondsOf } from './measure/process-cpu.ts';
import { atMost, loadAverage, percentiles, reportTargets } from './report/targets.ts';

const ENDED = 2_000;
const ARCHIVED = 5_000;
const IDLE = 2_000;
/** Of the idle ones: their holds are short, so that expiries can be measured. */
const SHORT_HOLDS = 100;
const SHORT_HOLD_SECONDS = 3;
const WATCHED_MS = 20_000;
const RETRY_MS = 10;
const LIMITS = {
  laterMs: 500,
  cpuPercent: 10,
  commandsPerSecond: 2_000,
  durableP50Ms: 100,
  expiryP99Ms: 1_000,
};

const options = command('bench:many-sales', 'Measures what sales without buyers cost.')
  .option(...WRITE_OPTION)
  .option('--rounds <number>', 'losses of each kind', '3')
  .parse()
  .opts<{ write?: boolean; rounds: string }>();

const session = openCommandSession();
const loadBefore = loadAverage();
try {
  const alone = await measureReopening('alone', { ended: 0, archived: 0 });
  const beside = await measureReopening('beside', { ended: ENDED, archived: ARCHIVED });
  const idle = await measureIdle();
  const later = (loss: Loss) => Math.round(beside.medianMs[loss] - alone.medianMs[loss]);
  const targets = [
    atMost('killed: later than alone', later('killed'), LIMITS.laterMs, 'ms'),
    atMost('flushed: later than alone', later('flushed'), LIMITS.laterMs, 'ms'),
    atMost('persister', idle.persisterCpuPercent, LIMITS.cpuPercent, '% of a core'),
    atMost('Redis', idle.commandsPerSecond, LIMITS.commandsPerSecond, 'commands/s'),
    atMost('durable: p50', idle.durableMs.p50, LIMITS.durableP50Ms, 'ms'),
    atMost('expiry: p99', idle.expiryDelayMs.p99, LIMITS.expiryP99Ms, 'ms'),
  ];
  const { serverVersions: versions, ...figures } = idle;
  const result = {
    machine: machine('the engine, Redis, PostgreSQL and this program share these cores'),
    loadBefore,
    versions: { ...codeVersions(), ...versions, durability: 'safe' },
    reopening: { ended: ENDED, archived: ARCHIVED, alone, beside },
    idle: figures,
    targets,
  };
  console.log(JSON.stringify({ alone, beside, idle: figures }, null, 2));
  await keepBenchResult('many-sales', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

// ---- the first purchase after Redis lost something ------------------------------------------------------------------

type Loss = 'killed' | 'flushed';

async function measureReopening(name: string, others: { ended: number; archived: number }) {
  session.step(`${name}: ${others.ended} ended and ${others.archived} archived sales …`);
  const { redis, postgres, servers } = await useStoppableServers(session);
  await makeSales(servers, others.ended, { status: 'ended' });
  await addArchivedSales(servers, others.archived);
  const { saleId } = await makeSale(servers);
  const environment = environmentOf(redis.url, postgres.url);
  const persister = await useEngineProcess(session, 'persister', environment);
  const hotPath = await useEngineProcess(session, 'hot-path', environment);
  await Promise.all([persister.untilReady(), hotPath.untilReady()]);
  await firstPurchase(hotPath, saleId, `${name}-first`);

  const ms: Record<Loss, number[]> = { killed: [], flushed: [] };
  for (const loss of ['killed', 'flushed'] as const) {
    for (let round = 1; round <= Number(options.rounds); round++) {
      session.step(`${name}: ${loss}, round ${round} …`);
      await firstPurchase(hotPath, saleId, `${name}-${loss}-${round}-before`);
      await sleep(2_000);
      const startedMs = performance.now();
      if (loss === 'killed') {
        await redis.kill();
        await redis.start();
      } else {
        await servers.shards.of(saleId).client.flushall();
      }
      await firstPurchase(hotPath, saleId, `${name}-${loss}-${round}`);
      ms[loss].push(Math.round(performance.now() - startedMs));
    }
  }
  await Promise.all([persister.stop(), hotPath.stop()]);
  return { ms, medianMs: { killed: median(ms.killed), flushed: median(ms.flushed) } };
}

/** Resolves when the buyer has a new reservation. */
async function firstPurchase(hotPath: EngineProcess, saleId: string, buyer: string): Promise<void> {
  const headers = { authorization: `Bearer ${tokenOf(buyer)}` };
  for (;;) {
    const response = await fetch(`${hotPath.url}/v1/sales/${saleId}/buy`, {
      method: 'POST',
      headers,
    });
    await response.text();
    // 200: an earlier try was decided, and its response was lost.
    if (response.ok) return;
    if (response.status !== 503)
      throw new Error(`the response to a purchase was ${response.status}`);
    await sleep(RETRY_MS);
  }
}

// ---- idle sales ------------------------------------------------------------------------------------------------------

async function measureIdle() {
  session.step(`${IDLE} idle sales …`);
  const { redis, postgres, servers } = await useStoppableServers(session);
  const usual = await makeSales(servers, IDLE - SHORT_HOLDS);
  const short = await makeSales(servers, SHORT_HOLDS, { holdSeconds: SHORT_HOLD_SECONDS });
  await servers.sql`UPDATE sales SET updated_at = now() - interval '1 hour'`;
  const persister = await useEngineProcess(
    session,
    'persister',
    environmentOf(redis.url, postgres.url),
  );
  await persister.untilReady();
  const { client } = servers.shards.of('any');
  const commands = async () =>
    Number(/^total_commands_processed:(\d+)/m.exec(await client.info('stats'))![1]);
  // Until all sales have been checked once.
  await sleep(WATCHED_MS);

  const before = { commands: await commands(), cpuSeconds: cpuSecondsOf(persister.pid) };
  await sleep(WATCHED_MS);
  const seconds = WATCHED_MS / 1_000;
  const commandsPerSecond = Math.round(((await commands()) - before.commands) / seconds);
  const cpuShare = (cpuSecondsOf(persister.pid) - before.cpuSeconds) / seconds;

  for (const saleId of [...usual.slice(0, SHORT_HOLDS), ...short]) {
    await buy(servers.shards, saleId, ['buyer']);
    await sleep(50);
  }
  const rows = await eventually(
    async () => {
      const found = await servers.sql<{ durableMs: number; lateMs: number | null }[]>`
        SELECT extract(epoch FROM persisted_at - reserved_at)::float8 * 1000 AS durable_ms,
          (SELECT extract(epoch FROM occurred_at - r.expires_at)::float8 * 1000 FROM reservation_events AS e
            WHERE e.sale_id = r.sale_id AND e.version = 2) AS late_ms
        FROM reservations AS r`;
      const expired = found.filter(({ lateMs }) => lateMs !== null).length;
      if (expired < SHORT_HOLDS) throw new Error(`${expired} of ${SHORT_HOLDS} holds have expired`);
      return found;
    },
    { timeoutMs: 60_000 },
  );
  await persister.stop();
  return {
    sales: IDLE,
    persisterCpuPercent: Math.round(cpuShare * 1_000) / 10,
    /** Commands within scripts count too. */
    commandsPerSecond,
    durableMs: percentiles(rows.map(({ durableMs }) => durableMs)),
    expiryDelayMs: percentiles(rows.flatMap(({ lateMs }) => lateMs ?? [])),
    serverVersions: await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url }),
  };
}

function environmentOf(redisUrl: string, databaseUrl: string): Record<string, string> {
  return { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, JWT_SECRET, LOG_LEVEL: 'error' };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
