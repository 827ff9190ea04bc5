/** Everything is killed in the middle of a thousand deliveries; each arrives all the same, under the same id. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { buyMany, connect, makeSale } from '../support/sales.ts';
import { startPostgres, startRedis } from '../support/servers.ts';
import { expectedIds, statesOf, subscribe } from './engine.ts';
import { type Answerer, startReceiver } from './receiver.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const EVENTS = 1_000;
/** What was under way when a process died waits until its lease is over: 20 s in earnest. */
const REST_TIMEOUT_MS = 60_000;

/** A persister as it runs in earnest. */
function spawnPersister(
  test: TestContext,
  servers: { redisUrl: string; databaseUrl: string },
): ChildProcess {
  const child = spawn(process.execPath, [MAIN, 'persister'], {
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'development',
      LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
      REDIS_URL: servers.redisUrl,
      DATABASE_URL: servers.databaseUrl,
      PERSISTER_PORT: '0',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  test.after(() => child.kill('SIGKILL'));
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

/** Slow enough that there is a middle. */
const slowly: Answerer = (response) => void setTimeout(() => response.writeHead(204).end(), 20);

describe('kill -9 in the middle of 1,000 deliveries', { concurrency: 2 }, () => {
  for (const [what, killsServers] of [
    ['of the persister', false],
    ['of persister, redis and postgres', true],
  ] as const) {
    it(`${what} loses none, and changes no id`, async (test) => {
      const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
      test.after(() => Promise.all([redis.stop(), postgres.stop()]));
      const servers = { redisUrl: redis.url, databaseUrl: postgres.url };
      const receiver = await startReceiver(slowly);
      test.after(() => receiver.close());
      const first = await connect(redis.url, postgres.url);
      const webhookId = await subscribe(first.sql, receiver.url, {
        events: ['reservation.reserved'],
      });
      const { saleId } = await makeSale(first);
      const persister = spawnPersister(test, servers);
      await buyMany(first.shards, saleId, { count: EVENTS, batchSize: 100 });
      await first.close();

      await eventually(() => assert.ok(receiver.ids().length > EVENTS / 3), {
        timeoutMs: 30_000,
      });
      await killed(persister);
      const before = receiver.ids().length;
      assert.ok(before < EVENTS, 'it was killed in the middle');
      if (killsServers) {
        await Promise.all([redis.kill(), postgres.kill()]);
        await Promise.all([redis.start(), postgres.start()]);
      }

      spawnPersister(test, servers);
      const second = await connect(redis.url, postgres.url);
      test.after(() => second.close());
      await eventually(() => assert.equal(receiver.ids().length, EVENTS), {
        timeoutMs: REST_TIMEOUT_MS,
      });
      await eventually(
        async () => assert.deepEqual(await statesOf(second.sql, webhookId), { delivered: EVENTS }),
        { timeoutMs: REST_TIMEOUT_MS },
      );
      assert.deepEqual(receiver.ids(), await expectedIds(second.sql, saleId));
      const repeated = receiver.received.length - EVENTS;
      assert.ok(repeated <= 64, `only what was under way is sent twice, not ${repeated}`);
      const bodies = new Map<string, string>();
      for (const { id, payload, message } of receiver.received) {
        assert.ok(message, 'every try is signed');
        assert.equal(bodies.get(id) ?? payload, payload, 'every try says the same');
        bodies.set(id, payload);
      }
    });
  }
});
