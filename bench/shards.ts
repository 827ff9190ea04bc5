/**
 * What a second shard is worth: sales on a real Redis Cluster of three masters.
 *
 *   npm run bench:shards -- [--write] [--rounds 7]
 *
 * In turn, one sale and two sales on two masters take reservations in full batches. A machine with few cores cannot show
 * how fast two servers are together, so the bench counts Redis' own CPU time: reservations for each second of the server
 * that needs most. Exits 1 when two sales reach less than 1.7 times as many as one.
 */
import calculateSlot from 'cluster-key-slot';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { quantile } from '../harness/crowds/open-loop-load.ts';
import { buyMany } from '../harness/sales/purchases.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useCluster } from '../harness/servers/redis-cluster.ts';
import { saleKey } from '../src/lua/keys.ts';
import { measureRedis } from './measure/redis-cpu.ts';
import { atLeast, loadAverage, reportTargets } from './report/targets.ts';

const RESERVATIONS = 100_000;
const BATCH_SIZE = 128;
/** The calls of one sale at a time, as those of two hot paths. */
const CALLS = 4;
const TIMES_LEAST = 1.7;

const options = command('bench:shards', 'Measures two sales on two shards against one sale.')
  .option(...WRITE_OPTION)
  .option('--rounds <number>', 'of one sale and of two', wholeNumber, 7)
  .parse()
  .opts<{ write?: boolean; rounds: number }>();

const session = openCommandSession();
const loadBefore = loadAverage();
try {
  const cluster = await useCluster(session);
  const postgres = await usePostgres(session);
  const { shards, sql } = await useConnections(session, cluster.url, postgres.url);
  const ownerOf = (saleId: string) => cluster.ownerOf(calculateSlot(saleKey(saleId, 'sale')));
  const saleOn = (owner: number, round: string) => {
    for (let i = 0; ; i++) if (ownerOf(`${round}-${i}`) === owner) return `${round}-${i}`;
  };
  const sell = async (saleId: string) => {
    await makeSale({ shards, sql }, { saleId, stock: RESERVATIONS });
    const calls = Array.from({ length: CALLS }, (_, call) =>
      buyMany(shards, saleId, {
        count: RESERVATIONS / CALLS,
        batchSize: BATCH_SIZE,
        prefix: `buyer-${call}`,
      }),
    );
    await Promise.all(calls);
  };
  /** Reservations for each second of CPU time of the busiest server. */
  const measure = async (saleIds: readonly string[]): Promise<number> => {
    const masters = shards.servers.map(({ shard }) => shard.client);
    const ends = await Promise.all(masters.map(measureRedis));
    await Promise.all(saleIds.map(sell));
    const usages = await Promise.all(ends.map((end) => end()));
    const busiest = Math.max(...usages.map(({ cpuSeconds }) => cpuSeconds));
    await Promise.all(masters.map((master) => master.flushall('ASYNC')));
    return (saleIds.length * RESERVATIONS) / busiest;
  };
  const rounds: { one: number; two: number; ratio: number }[] = [];
  // The first round warms the servers up and does not count.
  for (let round = 0; round <= options.rounds; round++) {
    const one = await measure([saleOn(0, `one-${round}`)]);
    const two = await measure([saleOn(0, `two-${round}`), saleOn(1, `two-${round}`)]);
    console.log(`round ${round}: ${format(one)} and ${format(two)} a second of CPU time`);
    if (round > 0) rounds.push({ one, two, ratio: two / one });
  }
  const median = (figure: 'one' | 'two' | 'ratio') =>
    quantile(
      rounds.map((round) => round[figure]),
      0.5,
    );
  const ratio = Math.round(median('ratio') * 100) / 100;
  const targets = [atLeast('two sales on two shards ÷ one sale', ratio, TIMES_LEAST)];
  const [first] = cluster.masters;
  const result = {
    machine: machine('all servers and this program share these cores'),
    loadBefore,
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: first!.url, postgresUrl: postgres.url })),
    },
    reservationsPerSale: RESERVATIONS,
    batchSize: BATCH_SIZE,
    perCpuSecond: { one: Math.round(median('one')), two: Math.round(median('two')) },
    rounds,
    targets,
  };
  await keepBenchResult('shards', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

function format(perSecond: number): string {
  return Math.round(perSecond).toLocaleString('en-US');
}
