/**
 * What watching costs buying: a sale is bought from one front end, alone and with 5,000 subscribers of `/live`, in
 * rounds that alternate, so that whatever else the machine does falls on both. Also: whether each of the subscribers
 * was told the final state.
 *
 *   npm run bench:live -- [--subscribers 5000] [--pairs 6] [--buys 20000] [--write]
 *
 * Starts a Redis of its own. Writes bench/results/live.json with --write; exits 1 when a subscriber was not told.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { startHotPath, tokenOf } from '../harness/engine/hot-path.ts';
import { openSale, type TestSale } from '../harness/sales/sales.ts';
import { connectShards } from '../harness/servers/connections.ts';
import { startRedis } from '../harness/servers/redis.ts';

const typed = command('bench:live', 'What watching costs buying.')
  .option('--subscribers <count>', 'of /live', wholeNumber, 5_000)
  .option('--pairs <count>', 'rounds with them and rounds without', wholeNumber, 6)
  .option('--buys <count>', 'in each round', wholeNumber, 20_000)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ subscribers: number; pairs: number; buys: number; write?: boolean }>();
const { subscribers: SUBSCRIBERS, pairs: PAIRS, buys: BUYS } = typed;
const BUYERS_AT_ONCE = 200;
const TOLD_WITHIN_MS = 10_000;

interface Round {
  buysPerSecond: number;
  messagesPerSecond: number;
  /** From the last answer to a buyer until the last subscriber knew that all is sold, looked at each 50 ms. */
  allNotifiedMs: number;
}

const { after, step, close } = openCommandSession();
const redis = await startRedis();
after(() => redis.stop());
const shards = await connectShards(redis.url);
after(() => shards.close());
const hotPath = await startHotPath(redis.url);
after(() => hotPath.close());
const tokens = Array.from({ length: BUYS }, (_, i) => `Bearer ${tokenOf(`buyer-${i}`)}`);
let untold = 0;
try {
  await round(0); // Warms up; not counted.
  const pairs: { alone: Round; watched: Round }[] = [];
  for (let i = 0; i < PAIRS; i++) {
    step(`pair ${i + 1} of ${PAIRS} …`);
    const first = await round(i % 2 === 0 ? 0 : SUBSCRIBERS);
    const second = await round(i % 2 === 0 ? SUBSCRIBERS : 0);
    const [alone, watched] = i % 2 === 0 ? [first, second] : [second, first];
    pairs.push({ alone, watched });
    console.log(`alone ${alone.buysPerSecond}/s, watched ${watched.buysPerSecond}/s`);
  }
  const ratios = pairs.map(({ alone, watched }) => watched.buysPerSecond / alone.buysPerSecond);
  const info = await shards.of('any').client.info('server');
  const result = {
    bench: 'live',
    subscribers: SUBSCRIBERS,
    buysPerRound: BUYS,
    pairs,
    medianRatio: Number(median(ratios).toFixed(3)),
    ratios: ratios.map((ratio) => Number(ratio.toFixed(3))),
    subscribersWithoutFinalState: untold,
    machine: machine('hot path, buyers, subscribers and Redis share these cores'),
    versions: { ...codeVersions(), redis: /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown' },
  };
  console.log(`buying with ${SUBSCRIBERS} subscribers: ${result.medianRatio} of buying without`);
  await keepBenchResult('live', result, typed);
  if (untold > 0) process.exitCode = 1;
} finally {
  await close();
}

async function round(subscribers: number): Promise<Round> {
  const sale = await openSale(shards, { phone: BUYS });
  const watchers = subscribers > 0 ? await startWatchers(sale, subscribers) : undefined;
  if (watchers) await ask(watchers, 'report');
  const seconds = await buyAll(sale);
  let messagesPerSecond = 0;
  let allNotifiedMs = 0;
  if (watchers) {
    messagesPerSecond = Math.round((await ask(watchers, 'report')).messages / seconds);
    const soldOutAt = performance.now();
    let missing = subscribers;
    while (missing > 0 && performance.now() - soldOutAt < TOLD_WITHIN_MS) {
      await sleep(50);
      const { last } = await ask(watchers, 'report');
      missing = subscribers - (last.find(([remaining]) => remaining === '0')?.[1] ?? 0);
    }
    untold += missing;
    allNotifiedMs = Math.round(performance.now() - soldOutAt);
    const ended = once(watchers, 'exit');
    watchers.send('close');
    await ended;
  }
  return { buysPerSecond: Math.round(BUYS / seconds), messagesPerSecond, allNotifiedMs };
}

async function buyAll(sale: TestSale): Promise<number> {
  const pool = new Pool(hotPath.url, { connections: BUYERS_AT_ONCE });
  const path = `/v1/sales/${sale.saleId}/buy`;
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: BUYERS_AT_ONCE }, async () => {
      while (next < BUYS) {
        const authorization = tokens[next++]!;
        const { statusCode, body } = await pool.request({
          path,
          method: 'POST',
          headers: { authorization },
        });
        await body.dump();
        if (statusCode !== 201) throw new Error(`a buy was answered ${statusCode}`);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  await pool.destroy();
  return seconds;
}

async function startWatchers(sale: TestSale, count: number): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, 'load/live-watchers.ts'));
  const opened = once(child, 'message');
  child.send({ port: Number(new URL(hotPath.url).port), saleId: sale.saleId, count });
  await opened;
  return child;
}

interface Report {
  messages: number;
  last: [remaining: string, count: number][];
}

async function ask(watchers: ChildProcess, question: string): Promise<Report> {
  const answered = once(watchers, 'message');
  watchers.send(question);
  const [report] = await answered;
  return report;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
