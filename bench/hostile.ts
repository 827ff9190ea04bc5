/**
 * 100,000 hostile or malformed requests, half to a hot path and half to an admin: whether both stay alive, answer
 * nothing of the 5xx kind but 503, still sell and keep right books, and have as much memory in use as before.
 *
 *   npm run hostile                      all of them, by the seed of the recorded run
 *   SEED=1 REQUESTS=5000 npm run hostile
 *
 * Starts servers and processes of its own. Writes bench/results/hostile.json; exits 1 when one of these does not hold.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HostileEngine } from '../test/support/hostile-engine.ts';
import { startPostgres, startRedis } from '../test/support/servers.ts';
import { codeVersions, machine, serverVersions } from './machine.ts';

const SEED = Number(process.env.SEED ?? 20_261_120);
const REQUESTS = Number(process.env.REQUESTS ?? 100_000);
const EACH = { count: Math.ceil(REQUESTS / 2), warmUp: Math.min(10_000, REQUESTS), seed: SEED };

const cleanUps: (() => Promise<unknown>)[] = [];
const test = { after: (cleanUp: () => unknown) => void cleanUps.push(async () => cleanUp()) };
const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
try {
  const engine = await HostileEngine.start(test, {
    redisUrl: redis.url,
    postgresUrl: postgres.url,
  });
  const startedAt = performance.now();
  const results = {
    hotPath: await engine.attack('hotPath', EACH),
    admin: await engine.attack('admin', EACH),
  };
  const promisesHold = await engine.promisesHold();
  const bars = [
    {
      name: 'no 5xx but 503, and the 505 of uWebSockets.js for what is not HTTP/1.1',
      ok: Object.values(results).every(({ faults }) => faults.length === 0),
    },
    { name: 'nothing that a process had to complain of', ok: engine.complaints.length === 0 },
    { name: 'both processes sell and keep right books', ok: promisesHold },
    { name: 'hot path: heap in use as before', ok: !results.hotPath.hasGrown },
    { name: 'admin: heap in use as before', ok: !results.admin.hasGrown },
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
  const path = join(import.meta.dirname, 'results/hostile.json');
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  for (const [name, { memory }] of Object.entries(results)) {
    console.log(`${name}: ${JSON.stringify(memory)}`);
  }
  for (const { name, ok } of bars) console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}`);
  if (bars.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  for (const cleanUp of cleanUps) await cleanUp();
  await Promise.all([redis.stop(), postgres.stop()]);
}
