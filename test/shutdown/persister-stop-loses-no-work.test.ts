/**
 * A persister that stops while it writes events, expires holds and delivers webhooks. It stops on time, whatever its
 * servers do, and the next persister does the remaining work.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { useReceiver } from '../../harness/network/webhook-receiver.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { assertPromisesHold } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { expectedIds, statesOf, subscribe } from '../../harness/sales/webhooks.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';

/** A process that has not closed by then exits with 1. */
const CLOSE_DEADLINE_MS = 10_000;
const HOLDS = 1_500;
const DRAIN_MS_MAX = 60_000;

const { redis, postgres, servers } = await useStoppableServers(FILE);

describe('a persister that stops', () => {
  const spawnPersister = (test: TestContext) =>
    useEngineProcess(test, 'persister', {
      NODE_ENV: 'development',
      REDIS_URL: redis.url,
      DATABASE_URL: postgres.url,
    });

  it('stops repeatedly under load without losing an event, a deadline or a delivery', async (test) => {
    // Slow enough that some deliveries are always in flight.
    const receiver = await useReceiver(
      test,
      (response) => void setTimeout(() => response.writeHead(204).end(), 50),
    );
    const webhookId = await subscribe(servers.sql, receiver.url, {
      events: ['reservation.reserved'],
    });
    const { saleId } = await makeSale(servers, { stock: HOLDS, holdSeconds: 2 });
    const buying = buyMany(servers.shards, saleId, { count: HOLDS, batchSize: 10 });
    for (let round = 0; round < 2; round++) {
      const leaving = await (await spawnPersister(test)).untilReady();
      const before = receiver.received.length;
      await eventually(() => assert.ok(receiver.received.length > before + 20));
      const { code, tookMs } = await leaving.stop();
      assert.equal(code, 0);
      assert.ok(tookMs < CLOSE_DEADLINE_MS / 2, `stopping took ${tookMs} ms`);
    }
    await buying;
    await spawnPersister(test);
    await eventually(
      async () => {
        const { events, drained, stock } = await saleState(servers.shards, saleId);
        assert.deepEqual([events, drained, stock[0]!.remaining], [2 * HOLDS, 2 * HOLDS, HOLDS]);
      },
      { timeoutMs: DRAIN_MS_MAX },
    );
    const [row] = await servers.sql<{ rows: number; ended: number; events: number }[]>`
      SELECT count(*)::int AS rows, (count(*) FILTER (WHERE status = 'expired'))::int AS ended,
        (SELECT count(*) FROM reservation_history WHERE sale_id = ${saleId})::int AS events
      FROM reservations WHERE sale_id = ${saleId}`;
    assert.deepEqual({ ...row }, { rows: HOLDS, ended: HOLDS, events: 2 * HOLDS });
    await eventually(
      async () => assert.deepEqual(await statesOf(servers.sql, webhookId), { delivered: HOLDS }),
      { timeoutMs: DRAIN_MS_MAX },
    );
    const expected = (await expectedIds(servers.sql, saleId)).filter((id) => id.endsWith('_1'));
    assert.deepEqual(receiver.ids(), expected);
    await assertPromisesHold(servers, saleId);
  });

  for (const [what, frozen] of [
    ['Redis', [redis]],
    ['PostgreSQL', [postgres]],
  ] as const) {
    it(`stops on time while ${what} is unresponsive`, async (test) => {
      const receiver = await useReceiver(test, () => undefined); // It never responds.
      await subscribe(servers.sql, receiver.url);
      const { saleId } = await makeSale(servers, { holdSeconds: 1 });
      const leaving = await (await spawnPersister(test)).untilReady();
      await buyMany(servers.shards, saleId, { count: 500, batchSize: 10 });
      await eventually(async () => {
        assert.ok((await saleState(servers.shards, saleId)).drained > 0);
      });
      for (const server of frozen) await usePause(test, server);
      // By then every loop of the persister waits for a server, also the one that expires the holds.
      await sleep(500);
      const { code, tookMs } = await leaving.stop();
      assert.equal(code, 0);
      assert.ok(tookMs < CLOSE_DEADLINE_MS, `stopping took ${tookMs} ms`);
    });
  }
});
