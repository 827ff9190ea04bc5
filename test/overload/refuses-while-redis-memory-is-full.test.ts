/**
 * Redis runs out of memory. When it is nearly full, only new purchases are refused; when it is full, a script refuses
 * before it writes anything. Persisting to PostgreSQL frees memory, and selling resumes.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold, holdMany } from '../../harness/sales/purchases.ts';
import { assertPromisesHold, unitCounts } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { transitionReservation } from '../../src/admin/reservations/transition-reservation.ts';
import type { Reservation } from '../../src/domain/reservation.ts';
import { createLogger } from '../../src/process/logger.ts';

const { redis, database, servers } = await useServers(FILE);
const hotPath = await useHotPath(FILE, redis.url);
const { client } = servers.shards.of('any');

describe('redis runs out of memory', () => {
  /** Limits the memory so that its present use is this share of it. */
  const setUsedShare = async (share: number) => {
    const used = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]);
    await client.config('SET', 'maxmemory', String(Math.round(used / share)));
  };
  const confirm = ({ reservationId }: Reservation) =>
    transitionReservation(
      { ...servers, log: createLogger('test', 'silent') },
      {
        reservationId,
        transition: 'confirm',
        caller: { actor: 'merchant', requestId: 'r' },
        traceparent: undefined,
      },
    );
  const assertOverloaded = async (saleId: string, buyer: string) => {
    const refused = await hotPath.buy(saleId, buyer);
    assert.deepEqual([refused.status, refused.body.code], [503, 'overloaded']);
    assert.ok(Number(refused.headers['retry-after']) > 0);
  };

  it('nearly full: new purchases are refused, transitions and repeated requests succeed', async () => {
    const { saleId } = await makeSale(servers);
    const [ada] = await hold(servers.shards, saleId, ['ada']);
    assert.equal((await hotPath.buy(saleId, 'bob')).status, 201);
    await setUsedShare(0.9);
    await eventually(() => assertOverloaded(saleId, `buyer-${performance.now()}`));
    const join = { method: 'POST', buyer: 'eve' };
    assert.equal((await hotPath.call(`/v1/sales/${saleId}/waitlist`, join)).status, 503);
    const repeated = await hotPath.buy(saleId, 'bob');
    assert.equal(repeated.status, 200);
    const path = `/v1/reservations/${repeated.body.reservationId}/cancel`;
    assert.equal((await hotPath.call(path, { method: 'POST', buyer: 'bob' })).status, 200);
    assert.equal(((await confirm(ada!)) as { status: number }).status, 200);
    await setUsedShare(0.5);
    await eventually(async () => assert.equal((await hotPath.buy(saleId, 'eve')).status, 201));
  });

  it('full: no script changes anything, and the persister frees memory', async (t) => {
    await client.config('SET', 'maxmemory', '0');
    const { saleId } = await makeSale(servers, { holdSeconds: 600 });
    const [ada] = await hold(servers.shards, saleId, ['ada']);
    await holdMany(servers.shards, saleId, { count: 15_000, batchSize: 5 });
    await setUsedShare(1.001);
    const untouched = await saleState(servers.shards, saleId);
    await assertOverloaded(saleId, 'one-too-many');
    const refused = await confirm(ada!);
    assert.equal('refused' in refused && refused.refused, 'overloaded');
    const { nowMs } = untouched;
    assert.deepEqual({ ...(await saleState(servers.shards, saleId)), nowMs }, untouched);

    await usePersister(t, redis.url, database.url);
    await eventually(async () => {
      const { drained, events } = await saleState(servers.shards, saleId);
      assert.deepEqual([drained, events], [15_001, 15_001]);
    });
    await eventually(async () => {
      const confirmed = await confirm(ada!);
      assert.ok('status' in confirmed && confirmed.status === 200);
    });
    assert.equal((await unitCounts(servers.shards, saleId)).confirmed, 1);
    // It is still nearly full after trimming, until an operator adds memory.
    await setUsedShare(0.5);
    await eventually(async () => {
      assert.equal((await hotPath.buy(saleId, 'one-too-many')).status, 201);
    });
    await eventually(() => assertPromisesHold(servers, saleId));
  });
});
