/**
 * PostgreSQL is unavailable until the stream reaches its bound. New purchases get 503 with `Retry-After` at once, while
 * repeated requests, reads and transitions succeed. When PostgreSQL returns, everything is written and selling resumes.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import {
  applyTransition,
  assertPromisesHold,
  unitCounts,
  untilExpired,
} from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useStoppableServers } from '../../harness/servers/connections.ts';
import type { Reservation } from '../../src/domain/reservation.ts';

const BACKLOG_MAX = 60;
/** Longer than stopping PostgreSQL and filling the stream take. */
const HOLD_SECONDS = 12;

describe('while the backlog is full', { concurrency: 2 }, () => {
  for (const [how, leave, comeBack] of [
    ['stopped', 'shutDown', 'start'],
    ['frozen', 'pause', 'resume'],
  ] as const) {
    it(`PostgreSQL is ${how}`, async (t) => {
      const { redis, postgres, servers } = await useStoppableServers(t);
      const { shards } = servers;
      await usePersister(t, redis.url, postgres.url, { silenceMs: 500, claimIdleMs: 500 });
      const hotPath = await useHotPath(t, redis.url, { BACKLOG_MAX: String(BACKLOG_MAX) });
      const { saleId } = await makeSale(servers, { stock: 10_000, holdSeconds: HOLD_SECONDS });
      const early = await hold(shards, saleId, ['ada', 'bob', 'eve']);
      await eventually(async () => assert.equal((await saleState(shards, saleId)).drained, 3));

      let strangers = 0;
      await postgres[leave]();
      const refusal = await eventually(async () => {
        const buyers = Array.from({ length: BACKLOG_MAX + 20 }, () => `buyer-${++strangers}`);
        const replies = await Promise.all(buyers.map((buyer) => hotPath.buy(saleId, buyer)));
        return replies.find(({ status }) => status !== 201) ?? assert.fail('all were accepted');
      });
      assert.deepEqual([refusal.status, refusal.body.code], [503, 'overloaded']);
      assert.ok(Number(refusal.headers['retry-after']) > 0);
      const { events, drained } = await saleState(shards, saleId);
      assert.ok(events - drained >= BACKLOG_MAX);

      await settleAll(early);
      const stillRefused = await hotPath.buy(saleId, 'one-more');
      assert.deepEqual([stillRefused.status, stillRefused.body.code], [503, 'overloaded']);
      assert.equal(
        (await hotPath.buy(saleId, 'ada')).status,
        200,
        'a repeated request is not a new one',
      );
      assert.equal((await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'bob' })).status, 200);
      // Holds expire on time without PostgreSQL.
      await eventually(async () => assert.equal((await unitCounts(shards, saleId)).held, 0));

      await postgres[comeBack]();
      await eventually(
        async () => assert.equal((await hotPath.buy(saleId, 'one-more')).status, 201),
        { timeoutMs: 30_000 },
      );
      await eventually(async () => {
        const state = await saleState(shards, saleId);
        assert.equal(state.drained, state.events);
      });
      const rows = await servers.sql<{ buyerId: string; status: string }[]>`
        SELECT buyer_id, status FROM reservations
        WHERE sale_id = ${saleId} AND buyer_id IN ('ada', 'bob', 'one-more') ORDER BY buyer_id`;
      assert.deepEqual(
        rows.map(({ buyerId, status }) => [buyerId, status]),
        [
          ['ada', 'confirmed'],
          ['bob', 'cancelled'],
          ['one-more', 'reserved'],
        ],
      );
      await assertPromisesHold(servers, saleId);

      /** A payment must be confirmed, whatever the size of the stream. */
      async function settleAll([ada, bob, eve]: Reservation[]): Promise<void> {
        assert.equal((await applyTransition(shards, ada!, 'confirm')).outcome, 'changed');
        assert.equal((await applyTransition(shards, bob!, 'cancel')).outcome, 'changed');
        await untilExpired(shards, eve!);
      }
    });
  }
});
