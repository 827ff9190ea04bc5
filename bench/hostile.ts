/**
 * 100,000 hostile or malformed requests, half to a hot path and half to an admin: whether both stay alive, answer
 * nothing of the 5xx kind but 503, still sell and keep right books, and have as much memory in use as before.
 *
 *   npm run hostile                                    all of them, by the seed of the recorded run
 *   npm run hostile -- --seed 1 --requests 5000
 *
 * Starts servers and processes of its own. Writes bench/results/hostile.json with --write; exits 1 when one of these
 * does not hold.
 */

import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { useHostileEngine } from '../harness/hostile/hostile-engine.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { startRedis } from '../harness/servers/redis.ts';
import { showProgress } from '../src/dev/demo/progress.ts';

const typed = command('hostile', 'Hostile requests to a hot path and an admin.')
  .option('--requests <count>', 'half of them to each', wholeNumber, 100_000)
  .option('--seed <number>', 'that draws them', wholeNumber, 20_261_120)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ requests: number; seed: number; write?: boolean }>();
const { requests: REQUESTS, seed: SEED } = typed;
const EACH = { count: Math.ceil(REQUESTS / 2), warmUp: Math.min(10_000, REQUESTS), seed: SEED };

const session = openCommandSession();
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
session.after(() => Promise.all([redis.stop(), postgres.stop()]));
try {
  const engine = await useHostileEngine(session, {
    redisUrl: redis.url,
    postgresUrl: postgres.url,
  });
  const startedAt = performance.now();
  const results = { hotPath: await attack('hotPath'), admin: await attack('admin') };
  const promisesHold = await engine.promisesHold();
  const bars = [
    {
      name: 'no 5xx but 503, and the 505 of uWebSockets.js for what is not HTTP/1.1',
      ok: Object.values(results).every(({ faults }) => faults.length === 0),
    },
    { name: 'neither process logged an error', ok: engine.complaints.length === 0 },
    { name: 'both processes sell and their counts add up', ok: promisesHold },
    { name: 'hot path: no heap growth', ok: !results.hotPath.hasGrown },
    { name: 'admin: no heap growth', ok: !results.admin.hasGrown },
  ];
  const result = {
    bench: 'hostile',
    seed: SEED,
    requests: REQUESTS,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
    bars,
    ...results,
    machine: machine('attackers, the engine, Redis and PostgreSQL share these cores'),
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
    },
  };
  for (const [name, { memory }] of Object.entries(results)) {
    console.log(`${name}: ${JSON.stringify(memory)}`);
  }
  for (const { name, ok } of bars) console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}`);
  await keepBenchResult('hostile', result, typed);
  if (bars.some(({ ok }) => !ok)) process.exitCode = 1;

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
