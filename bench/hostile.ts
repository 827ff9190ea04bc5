/**
 * 100,000 hostile or malformed requests, half to a hot path and half to admin. Both must keep running, return no 5xx
 * other than 503, still sell with counts that add up, and use no more heap than before. Then the most expensive requests
 * that buyers can prepare, which must cost Redis little more than ordinary ones.
 *
 *   npm run hostile                                    all of them, with the seed of the recorded run
 *   npm run hostile -- --seed 1 --requests 5000
 *
 * Exits 1 when one of these does not hold.
 */
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { useHostileEngine } from '../harness/hostile/hostile-engine.ts';
import { useShards } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useRedis } from '../harness/servers/redis.ts';
import { showProgress } from '../src/dev/demo/progress.ts';
import { measureExpensiveBuyers } from './expensive-buyers.ts';
import { reportTargets } from './report/targets.ts';

/** Batches of each kind of prepared request. */
const COST_ROUNDS = 50;
const RATIO_MAX = 3;
const CALL_MICROS_MAX = 5_000;

const options = command(
  'hostile',
  'Sends hostile requests to a hot path and to admin. Exits 1 when either fails.',
)
  .option('--requests <count>', 'in total, half to each process', wholeNumber, 100_000)
  .option('--seed <number>', 'of the random requests', wholeNumber, 20_261_120)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ requests: number; seed: number; write?: boolean }>();
const { requests, seed } = options;
const EACH = { count: Math.ceil(requests / 2), warmUp: Math.min(10_000, requests), seed };

const session = openCommandSession();
const [redis, postgres] = await Promise.all([useRedis(session), usePostgres(session)]);
try {
  const engine = await useHostileEngine(session, {
    redisUrl: redis.url,
    postgresUrl: postgres.url,
  });
  const startedAt = performance.now();
  const results = { hotPath: await attack('hotPath'), admin: await attack('admin') };
  const promisesHold = await engine.promisesHold();
  const shards = await useShards(session, redis.url);
  const costs = await measureExpensiveBuyers({ shards }, COST_ROUNDS);
  const ordinaryMicros = costs[0]!.alone.ordinaryMicros;
  const targets = [
    {
      name: 'no 5xx but 503, and the 505 of uWebSockets.js for what is not HTTP/1.1',
      ok: Object.values(results).every(({ faults }) => faults.length === 0),
    },
    { name: 'neither process logged an error', ok: engine.errors.length === 0 },
    { name: 'both processes sell and their counts add up', ok: promisesHold },
    {
      name: `no prepared request costs Redis more than ${RATIO_MAX} × an ordinary purchase`,
      ok: costs.every(({ alone }) => alone.preparedMicros <= RATIO_MAX * ordinaryMicros),
    },
    {
      name: `no script call of prepared requests takes Redis more than ${CALL_MICROS_MAX / 1_000} ms of processor time`,
      ok: costs.every(({ batched }) => !batched || batched.longestCallMicros <= CALL_MICROS_MAX),
    },
    { name: 'hot path: no heap growth', ok: !results.hotPath.hasGrown },
    { name: 'admin: no heap growth', ok: !results.admin.hasGrown },
  ];
  const result = {
    bench: 'hostile',
    seed,
    requests,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
    targets,
    ...results,
    costs,
    machine: machine('attackers, the engine, Redis and PostgreSQL share these cores'),
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
    },
  };
  for (const [name, { memory }] of Object.entries(results)) {
    console.log(`${name}: ${JSON.stringify(memory)}`);
  }
  for (const cost of costs) console.log(JSON.stringify(cost));
  await keepBenchResult('hostile', result, options);
  reportTargets(targets);

  async function attack(part: 'hotPath' | 'admin') {
    const progress = showProgress(`requests to ${part}`, EACH.warmUp + EACH.count);
    try {
      return await engine.attack(part, EACH, progress.reach);
    } finally {
      progress.end();
    }
  }
} finally {
  await session.close();
}
