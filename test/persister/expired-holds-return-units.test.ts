/**
 * A hold that is not paid for expires at its deadline: its units and the buyer's limit become free again, and the
 * history records it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { metric } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold, holdMany } from '../../harness/sales/purchases.ts';
import {
  applyTransition,
  assertPromisesHold,
  historyOf,
  unitCounts,
  untilExpired,
} from '../../harness/sales/reservations.ts';
import { makeSale, setStatus } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';

const { redis, database, servers } = await useServers(FILE);
/** A sweep may be late on a busy machine. */
const IN_TIME = { timeoutMs: 3_000 };

describe('an expired hold', () => {
  it('returns its units, and its buyer can buy again without an idempotency key', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 1, holdSeconds: 1 });
    const one = await usePersister(test, redis.url, database.url);
    const [first] = await hold(servers.shards, saleId, ['ada']);
    const none = { remaining: 0, held: 1, confirmed: 0, waiting: 0 };
    assert.deepEqual(await unitCounts(servers.shards, saleId), none);
    await untilExpired(servers.shards, first!);
    await eventually(async () => {
      assert.deepEqual(await unitCounts(servers.shards, saleId), {
        ...none,
        remaining: 1,
        held: 0,
      });
    });
    await eventually(async () => {
      assert.deepEqual(await historyOf(servers, saleId, 'ada'), [
        { status: 'expired', versions: [1, 2] },
      ]);
    });
    const [second] = await hold(servers.shards, saleId, ['ada']);
    assert.notEqual(second!.reservationId, first!.reservationId);
    assert.equal((await applyTransition(servers.shards, second!, 'confirm')).outcome, 'changed');
    await eventually(async () => {
      assert.deepEqual(await historyOf(servers, saleId, 'ada'), [
        { status: 'expired', versions: [1, 2] },
        { status: 'confirmed', versions: [1, 2] },
      ]);
    });
    await assertPromisesHold(servers, saleId);
    assert.equal(await metric(one, 'flash_sale_expired_total'), 1);
    assert.equal(await metric(one, 'flash_sale_expiry_delay_seconds_count'), 1);
  });

  it('expires within three seconds of its deadline, and never before', async (test) => {
    const { saleId } = await makeSale(servers, { holdSeconds: 2 });
    await usePersister(test, redis.url, database.url);
    await holdMany(servers.shards, saleId, { count: 2_000, batchSize: 40 });
    const last = (await hold(servers.shards, saleId, ['last']))[0]!;
    await untilExpired(servers.shards, last);
    await eventually(async () => {
      assert.equal((await unitCounts(servers.shards, saleId)).held, 0);
    }, IN_TIME);
    await assertPromisesHold(servers, saleId);
    const [row] = await servers.sql<{ rows: number; early: number }[]>`
      SELECT count(*)::int AS rows, (count(*) FILTER (WHERE occurred_at < expires_at))::int AS early
      FROM reservation_events JOIN reservations USING (reservation_id, sale_id)
      WHERE sale_id = ${saleId} AND reservation_events.version = 2`;
    assert.deepEqual({ ...row }, { rows: 2_001, early: 0 });
  });

  it('expires at its own deadline when it was extended, not at that of its batch', async (test) => {
    const { saleId } = await makeSale(servers, { holdSeconds: 4 });
    await usePersister(test, redis.url, database.url);
    const held = await hold(servers.shards, saleId, ['ada', 'bob', 'cyd']);
    const reply = await applyTransition(servers.shards, held[1]!, 'extend');
    assert.equal(reply.outcome, 'changed');
    const extended = 'reservation' in reply ? reply.reservation : assert.fail();
    assert.equal(extended.expiresAt, held[1]!.expiresAt + 4_000);

    // The other holds end first.
    for (const left of [1, 0]) {
      await eventually(async () => {
        assert.equal((await unitCounts(servers.shards, saleId)).held, left);
      });
    }
    await eventually(async () => {
      assert.deepEqual(await historyOf(servers, saleId, 'bob'), [
        { status: 'expired', versions: [1, 2, 3] },
      ]);
    });
    const expiries = await servers.sql<{ buyerId: string; isEarly: boolean }[]>`
      SELECT reservations.buyer_id, occurred_at < expires_at AS is_early
      FROM reservation_events JOIN reservations USING (reservation_id, sale_id)
      WHERE sale_id = ${saleId} AND reservation_events.version = reservations.version
      ORDER BY reservations.buyer_id`;
    assert.deepEqual(
      expiries.map((row) => ({ ...row })),
      ['ada', 'bob', 'cyd'].map((buyerId) => ({ buyerId, isEarly: false })),
    );
    await assertPromisesHold(servers, saleId);
  });

  for (const status of ['paused', 'ended'] as const) {
    it(`expires also in a sale that is ${status}`, async (test) => {
      const sale = await makeSale(servers, { stock: 10, holdSeconds: 1 });
      await usePersister(test, redis.url, database.url);
      const [first] = await hold(servers.shards, sale.saleId, ['ada']);
      await setStatus(servers, sale, status);
      await untilExpired(servers.shards, first!);
      await eventually(async () => {
        assert.equal((await unitCounts(servers.shards, sale.saleId)).remaining, 10);
      }, IN_TIME);
      await assertPromisesHold(servers, sale.saleId);
    });
  }
});
