/**
 * The cost of `/live` subscribers for buyers. One hot path sells a sale alone and with 5,000 subscribers, in alternating
 * rounds, so that other work on the machine disturbs both. Also checks that each subscriber gets the final state.
 *
 *   npm run bench:live -- [--subscribers 5000] [--pairs 6] [--buys 20000] [--write]
 *
 * Exits 1 when a subscriber does not get it.
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
import { tokenOf, useHotPath } from '../harness/engine/hot-path.ts';
import { openSale, type TestSale } from '../harness/sales/sales.ts';
import { useShards } from '../harness/servers/connections.ts';
import { useRedis } from '../harness/servers/redis.ts';
import { spreadOf } from './measure/rounds.ts';

const options = command(
  'bench:live',
  'Measures what live subscribers cost buyers. Exits 1 when one misses the final state.',
)
  .option('--subscribers <count>', 'of /live', wholeNumber, 5_000)
  .option('--pairs <count>', 'of a round with subscribers and one without', wholeNumber, 6)
  .option('--buys <count>', 'in each round', wholeNumber, 20_000)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ subscribers: number; pairs: number; buys: number; write?: boolean }>();
const { subscribers: SUBSCRIBERS, pairs: PAIRS, buys: BUYS } = options;
const BUYERS_IN_PARALLEL = 200;
const NOTIFIED_MS_MAX = 10_000;

interface Round {
  buysPerSecond: number;
  messagesPerSecond: number;
  /** From the last purchase until every subscriber has the sold-out state, polled every 50 ms. */
  allNotifiedMs: number;
}

const session = openCommandSession();
const redis = await useRedis(session);
const shards = await useShards(session, redis.url);
const hotPath = await useHotPath(session, redis.url);
const tokens = Array.from({ length: BUYS }, (_, i) => `Bearer ${tokenOf(`buyer-${i}`)}`);
let withoutFinalState = 0;
try {
  await round(0); // A warm-up, not counted.
  const pairs: { alone: Round; watched: Round }[] = [];
  for (let i = 0; i < PAIRS; i++) {
    session.step(`pair ${i + 1} of ${PAIRS} …`);
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
    medianRatio: Number(spreadOf(ratios).median.toFixed(3)),
    ratios: ratios.map((ratio) => Number(ratio.toFixed(3))),
    subscribersWithoutFinalState: withoutFinalState,
    machine: machine('hot path, buyers, subscribers and Redis share these cores'),
    versions: { ...codeVersions(), redis: /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown' },
  };
  console.log(`buying with ${SUBSCRIBERS} subscribers: ${result.medianRatio} of buying without`);
  await keepBenchResult('live', result, options);
  if (withoutFinalState > 0) process.exitCode = 1;
} finally {
  await session.close();
}

async function round(subscribers: number): Promise<Round> {
  const sale = await openSale(shards, { phone: BUYS });
  const watchers = subscribers > 0 ? await startWatchers(sale, subscribers) : undefined;
  if (watchers) await request(watchers, 'report');
  const seconds = await buyAll(sale);
  let messagesPerSecond = 0;
  let allNotifiedMs = 0;
  if (watchers) {
    messagesPerSecond = Math.round((await request(watchers, 'report')).messages / seconds);
    const soldOutAt = performance.now();
    let missing = subscribers;
    while (missing > 0 && performance.now() - soldOutAt < NOTIFIED_MS_MAX) {
      await sleep(50);
      const { last } = await request(watchers, 'report');
      missing = subscribers - (last.find(([remaining]) => remaining === '0')?.[1] ?? 0);
    }
    withoutFinalState += missing;
    allNotifiedMs = Math.round(performance.now() - soldOutAt);
    const ended = once(watchers, 'exit');
    watchers.send('close');
    await ended;
  }
  return { buysPerSecond: Math.round(BUYS / seconds), messagesPerSecond, allNotifiedMs };
}

async function buyAll(sale: TestSale): Promise<number> {
  const pool = new Pool(hotPath.url, { connections: BUYERS_IN_PARALLEL });
  const path = `/v1/sales/${sale.saleId}/buy`;
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: BUYERS_IN_PARALLEL }, async () => {
      while (next < BUYS) {
        const authorization = tokens[next++]!;
        const { statusCode, body } = await pool.request({
          path,
          method: 'POST',
          headers: { authorization },
        });
        await body.dump();
        if (statusCode !== 201) throw new Error(`the response to a purchase was ${statusCode}`);
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

async function request(watchers: ChildProcess, question: string): Promise<Report> {
  const received = once(watchers, 'message');
  watchers.send(question);
  const [report] = await received;
  return report;
}
