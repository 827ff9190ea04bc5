/**
 * Processes and servers are killed in the middle of a thousand deliveries. Each delivery still arrives, with the same
 * id.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { type Responder, useReceiver } from '../../harness/network/webhook-receiver.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { expectedIds, statesOf, subscribe } from '../../harness/sales/webhooks.ts';
import { connect, useConnections } from '../../harness/servers/connections.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';

const EVENTS = 1_000;
/** A delivery in flight when its process died is retried when its lease expires: after 20 s. */
const REST_TIMEOUT_MS = 60_000;

function spawnPersister(
  test: TestContext,
  servers: { redisUrl: string; databaseUrl: string },
): Promise<EngineProcess> {
  return useEngineProcess(test, 'persister', {
    NODE_ENV: 'development',
    REDIS_URL: servers.redisUrl,
    DATABASE_URL: servers.databaseUrl,
  });
}

/** Slow enough to be killed in the middle. */
const slowly: Responder = (response) => void setTimeout(() => response.writeHead(204).end(), 20);

describe('kill -9 in the middle of 1,000 deliveries', { concurrency: 2 }, () => {
  for (const [what, killsServers] of [
    ['of the persister', false],
    ['of persister, redis and postgres', true],
  ] as const) {
    const skip = !killsServers && !IS_LONG_RUN && 'for --long';
    it(`${what} loses no delivery and changes no id`, { skip }, async (test) => {
      const redis = await useRedis(test);
      const postgres = await usePostgres(test);
      const servers = { redisUrl: redis.url, databaseUrl: postgres.url };
      const receiver = await useReceiver(test, slowly);
      const first = await connect(redis.url, postgres.url);
      const webhookId = await subscribe(first.sql, receiver.url, {
        events: ['reservation.reserved'],
      });
      const { saleId } = await makeSale(first);
      const persister = await spawnPersister(test, servers);
      await buyMany(first.shards, saleId, { count: EVENTS, batchSize: 100 });
      await first.close();

      await eventually(() => assert.ok(receiver.ids().length > EVENTS / 3), {
        timeoutMs: 30_000,
      });
      await persister.kill();
      const before = receiver.ids().length;
      assert.ok(before < EVENTS, 'the persister was killed in the middle');
      if (killsServers) {
        await Promise.all([redis.kill(), postgres.kill()]);
        await Promise.all([redis.start(), postgres.start()]);
      }

      await spawnPersister(test, servers);
      const second = await useConnections(test, redis.url, postgres.url);
      await eventually(() => assert.equal(receiver.ids().length, EVENTS), {
        timeoutMs: REST_TIMEOUT_MS,
      });
      await eventually(
        async () => assert.deepEqual(await statesOf(second.sql, webhookId), { delivered: EVENTS }),
        { timeoutMs: REST_TIMEOUT_MS },
      );
      assert.deepEqual(receiver.ids(), await expectedIds(second.sql, saleId));
      const repeated = receiver.received.length - EVENTS;
      assert.ok(repeated <= 64, `only deliveries in flight are sent twice, not ${repeated}`);
      const bodies = new Map<string, string>();
      for (const { id, payload, message } of receiver.received) {
        assert.ok(message, 'every attempt is signed');
        assert.equal(bodies.get(id) ?? payload, payload, 'every attempt has the same body');
        bodies.set(id, payload);
      }
    });
  }
});
