/**
 * How soon what is not paid for can be had again, with fsync always.
 *
 *   npm run bench:expiry -- [--write]
 *
 * 1. 10,000 holds of one sale that end in the same second, decided in batches of 100 and one by one: how long after
 *    their deadline they are back in stock, and how long one call of the sweep keeps Redis busy.
 * 2. A sold-out sale whose only unit is given back through one front end: how long until another buyer, who keeps
 *    pressing at another front end, has it.
 *
 * Starts servers and processes of its own. Writes bench/results/expiry.json with --write; exits 1 when a bar is missed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { eventually } from '../harness/eventually.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { type Connections, connect } from '../harness/servers/connections.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';
import { newTag } from '../src/domain/identifiers.ts';
import { reserve } from '../src/lua/buy/reserve.ts';
import { sweep } from '../src/lua/buy/sweep.ts';
import { readSale } from '../src/lua/read/read-sale.ts';
import { HOLDS_PER_CALL } from '../src/persister/sale-sweep.ts';
import { findFreePorts } from '../src/process/free-port.ts';

const REPOSITORY = join(import.meta.dirname, '..');
const HOLDS = 10_000;
const HOLD_SECONDS = 4;
/** Reserve calls under way at once, so that deciding one by one takes about a second as well. */
const CALLS_AT_ONCE = 100;
const POLL_MS = 5;
const RELEASES = 300;
const PRESS_AGAIN_MS = 2;
const JWT_SECRET = 'a-secret-for-benches-of-more-than-32-bytes';

const BARS = { delayP99Ms: 1_000, sweepCallMaxMs: 5, releaseP99Ms: 200 };

const typed = command('bench:expiry', 'How soon what is not paid for can be had again.')
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ write?: boolean }>();

const { after, step, close } = openCommandSession();
/** Others at work on the machine keep Redis waiting in the middle of a call, which counts as the call's time. */
const loadBefore = rounded(loadavg()[0]!);
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
after(() => Promise.all([redis.stop(), postgres.stop()]));
const servers = await connect(redis.url, postgres.url);
after(() => servers.close());
const children: ChildProcess[] = [];
after(() => Promise.all(children.map(end)));
try {
  const expiries = [await measureExpiry(100), await measureExpiry(1)];
  const release = await measureRelease();
  const bars = [
    ...expiries.flatMap(({ batchSize, delayMs, sweepCallMs }) => [
      bar(`batches of ${batchSize}: p99 delay over the deadline`, delayMs.p99, BARS.delayP99Ms),
      bar(`batches of ${batchSize}: longest sweep call`, sweepCallMs.max, BARS.sweepCallMaxMs),
    ]),
    bar('release to the next purchase: p99', release.sentMs.p99, BARS.releaseP99Ms),
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
    bars,
  };
  console.log(JSON.stringify({ expiries, release }, null, 2));
  for (const { name, value, below, ok } of bars) {
    console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}: ${value} ms, must be below ${below}`);
  }
  await keepBenchResult('expiry', result, typed);
  if (bars.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  await close();
}

// ---- holds that end --------------------------------------------------------------------------------------------------

async function measureExpiry(batchSize: number) {
  step(`${HOLDS} holds, decided ${batchSize} at a time …`);
  const [port] = await findFreePorts(1);
  const persister = start('persister', { DATABASE_URL: postgres.url, PERSISTER_PORT: `${port}` });
  const { saleId } = await makeSale(servers, { stock: HOLDS, holdSeconds: HOLD_SECONDS });
  await untilReady(port!);

  await holdAll(saleId, batchSize);
  await isolateSweepCalls(servers, saleId);
  const seen = await watchStockReturn(saleId);
  const { sweepCalls, readCalls } = await callsMs(servers, saleId);

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
  await end(persister);
  const deadlines = rows.map(({ expiresMs }) => expiresMs);
  return {
    holds: HOLDS,
    batchSize,
    persisters: 1,
    holdsPerSweepCall: HOLDS_PER_CALL,
    deadlinesSpreadMs: Math.round(deadlines.at(-1)! - deadlines[0]!),
    /** By the events: when the script ended it, against its deadline. */
    delayMs: percentiles(rows.map(({ delayMs }) => delayMs)),
    /** By reading the sale all the time: when the n-th unit was back, against the n-th deadline. */
    seenDelayMs: percentiles(deadlines.map((deadline, index) => seen[index]! - deadline)),
    sweepCallMs: { calls: sweepCalls.length, ...percentiles(sweepCalls) },
    /** Of reading the sale meanwhile, always the same little work: what is more than that is the machine's doing. */
    readCallMs: { calls: readCalls.length, ...percentiles(readCalls) },
  };
}

async function holdAll(saleId: string, batchSize: number): Promise<void> {
  let next = 0;
  const oneAfterTheOther = async () => {
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
        if (outcome !== 'reserved') throw new Error(`a purchase was answered ${outcome}`);
      }
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, oneAfterTheOther));
}

/** By Redis' clock, when each unit was first seen back: `[i]` for the (i + 1)-th. */
async function watchStockReturn(saleId: string): Promise<number[]> {
  const seen: number[] = [];
  const giveUpAt = performance.now() + (HOLD_SECONDS + 30) * 1_000;
  while (seen.length < HOLDS) {
    const reply = await servers.shards.call(readSale, saleId);
    if (reply.outcome !== 'known') throw new Error(`the sale is ${reply.outcome}`);
    while (seen.length < reply.state.stock[0]!.remaining) seen.push(reply.state.nowMs);
    if (performance.now() > giveUpAt) throw new Error(`only ${seen.length} came back`);
    await sleep(POLL_MS);
  }
  return seen;
}

/** From here on the slow log keeps every call, so that the longest sweep is among them. */
async function isolateSweepCalls({ shards }: Connections, saleId: string): Promise<void> {
  const { client } = shards.of(saleId);
  await client.config('SET', 'slowlog-max-len', '100000');
  await client.config('SET', 'slowlog-log-slower-than', '0');
  await client.slowlog('RESET');
}

async function callsMs({ shards }: Connections, saleId: string) {
  const { client } = shards.of(saleId);
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
    // As many as it takes to end all holds: calls that found nothing would only flatter the percentiles.
    sweepCalls: callsOf(sweep).slice(0, HOLDS / HOLDS_PER_CALL),
    readCalls: callsOf(readSale),
  };
}

// ---- what is given back ----------------------------------------------------------------------------------------------

async function measureRelease() {
  step(`${RELEASES} give-backs, each to a buyer at another front end …`);
  const ports = await findFreePorts(2);
  for (const port of ports) start('hot-path', { JWT_SECRET, HOT_PATH_PORT: `${port}` });
  await Promise.all(ports.map(untilReady));
  const fronts = ports.map((port) => new Pool(`http://127.0.0.1:${port}`, { connections: 4 }));
  const { saleId } = await makeSale(servers, { stock: 1 });
  const press = (front: Pool, token: string) => request(front, `/v1/sales/${saleId}/buy`, token);

  const sentMs: number[] = [];
  const responseMs: number[] = [];
  let owner = tokenOf('owner-0');
  let reservationId = (await press(fronts[0]!, owner)).body.reservationId;
  for (let round = 1; round <= RELEASES; round++) {
    const [mine, others] = round % 2 ? [fronts[0]!, fronts[1]!] : [fronts[1]!, fronts[0]!];
    const waiting = tokenOf(`owner-${round}`);
    const success = pressUntilSold(() => press(others, waiting));
    // The other buyer has been told "sold out" a few times by then.
    await sleep(20 + Math.random() * 20);
    const sentAt = performance.now();
    const answer = await request(mine, `/v1/reservations/${reservationId}/cancel`, owner);
    const answeredAt = performance.now();
    if (answer.status !== 200) throw new Error(`a give-back was answered ${answer.status}`);
    const { at, body } = await success;
    sentMs.push(at - sentAt);
    responseMs.push(Math.max(0, at - answeredAt));
    owner = waiting;
    reservationId = body.reservationId;
  }
  await Promise.all(fronts.map((front) => front.close()));
  return {
    tries: RELEASES,
    hotPaths: 2,
    retryAfterMs: PRESS_AGAIN_MS,
    /** From sending the give-back, and from its answer, to the other buyer's 201. */
    sentMs: percentiles(sentMs),
    responseMs: percentiles(responseMs),
  };
}

interface Answer {
  status: number;
  body: { reservationId: string; code?: string };
}

async function pressUntilSold(press: () => Promise<Answer>) {
  for (;;) {
    const { status, body } = await press();
    if (status === 201) return { at: performance.now(), body };
    if (status !== 409) throw new Error(`a press was answered ${status} ${body.code}`);
    await sleep(PRESS_AGAIN_MS);
  }
}

async function request(front: Pool, path: string, token: string): Promise<Answer> {
  const response = await front.request({
    path,
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  return { status: response.statusCode, body: (await response.body.json()) as Answer['body'] };
}

function tokenOf(buyerId: string): string {
  return createSigner({ key: JWT_SECRET })({
    sub: buyerId,
    exp: Math.floor(Date.now() / 1_000) + 3_600,
  });
}

// ---- processes -------------------------------------------------------------------------------------------------------

function start(name: 'persister' | 'hot-path', environment: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [join(REPOSITORY, 'src/main.ts'), name], {
    env: { PATH: process.env.PATH, REDIS_URL: redis.url, LOG_LEVEL: 'warn', ...environment },
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
  });
}

// ---- figures ---------------------------------------------------------------------------------------------------------

function percentiles(values: readonly number[]) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => rounded(sorted[Math.ceil(share * sorted.length) - 1] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

function bar(name: string, value: number, below: number) {
  return { name, value, below, ok: value < below };
}
