/** `DURABILITY=replicated`: no response and no message reveals a decision that no replica has. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { useRetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { type Reply, type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { wholeRecordsOf } from '../../harness/sales/whole-records.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { type TestRedis, withRedis } from '../../harness/servers/redis.ts';
import { untilReplicasAre, useReplicated } from '../../harness/servers/replication.ts';
import { usePause } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

const COMMAND_TIMEOUT_MS = 1_500;
/** The call may take one timeout, and the wait for replicas another one. */
const RESPONSE_MS_MAX = 2 * COMMAND_TIMEOUT_MS + 500;
/** On a busy machine no call times out while the replica is frozen. */
const PATIENT_TIMEOUT_MS = 20_000;

const { master, replicas } = await useReplicated(FILE, {
  // So long that only WAIT notices an unresponsive replica.
  maxLagSeconds: 60,
});
const [replica] = replicas as [TestRedis];
const shards = await useShards(FILE, master.url);
const CHOICES = {
  DURABILITY: 'replicated',
  REDIS_COMMAND_TIMEOUT_MS: String(COMMAND_TIMEOUT_MS),
};
const hotPath = await useHotPath(FILE, master.url, CHOICES);

describe('under replicated', () => {
  async function assertUnknown(call: () => Promise<Reply>): Promise<void> {
    const startedAt = performance.now();
    const reply = await call();
    assert.equal(reply.status, 503, JSON.stringify(reply.body));
    assert.equal(reply.body.code, 'unavailable');
    assert.match(String(reply.headers['retry-after']), /^[1-5]$/);
    assert.ok(performance.now() - startedAt < RESPONSE_MS_MAX);
  }

  it('an acknowledged reservation is on the replica at that moment', async () => {
    const sale = await openSale(shards, { phone: 1_000 });
    await withRedis(replica.url, async (copy) => {
      await Promise.all(
        Array.from({ length: 500 }, async (_, i) => {
          assert.equal((await hotPath.buy(sale.saleId, `buyer-${i}`)).status, 201);
          assert.equal(await copy.hexists(saleKey(sale.saleId, 'buyers'), `buyer-${i}`), 1);
        }),
      );
    });
  });

  it('a decision that no replica has is revealed by no hot path, until one has it', async (t) => {
    const sale = await openSale(shards, { phone: 10 });
    assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
    const bob = await useWatcher(t, hotPath, sale.saleId, { buyer: 'bob' });
    const buy = (at: TestHotPath) => at.buy(sale.saleId, 'bob', { key: 'k' });
    // Its connections have written nothing, so WAIT alone would return at once.
    const another = await useHotPath(t, master.url, CHOICES);
    await usePause(t, replica);
    await assertUnknown(() => buy(hotPath));
    assert.equal((await sale.state()).stock[0]!.held, 2, 'it was decided');
    const { bob: record } = await wholeRecordsOf(shards.of(sale.saleId).client, sale.saleId);
    const [, , position, tag] = record!.split('\t');
    const reservationId = `${sale.saleId}_${position}_${tag}`;

    for (const each of [hotPath, another]) {
      await assertUnknown(() => buy(each));
      await assertUnknown(() => each.call(`/v1/sales/${sale.saleId}/me`, { buyer: 'bob' }));
      await assertUnknown(() => each.call(`/v1/reservations/${reservationId}`, { buyer: 'bob' }));
    }
    assert.deepEqual(bob.of('reservation'), []);

    replica.resume();
    const again = await eventually(async () => {
      const reply = await buy(another);
      assert.equal(reply.status, 200, JSON.stringify(reply.body));
      return reply;
    });
    assert.equal(again.headers['idempotent-replayed'], 'true');
    assert.equal(again.body.reservationId, reservationId);
    assert.equal((await buy(hotPath)).body.reservationId, reservationId);
    assert.equal((await sale.state()).stock[0]!.held, 2, 'neither lost nor doubled');
    await bob.receives('reservation', ({ reservation }) => reservation.position === 2);
  });

  it('waiting for the replica does not delay other requests', async (t) => {
    const sale = await openSale(shards, { phone: 1_000 });
    const patient = await useHotPath(t, master.url, {
      ...CHOICES,
      REDIS_COMMAND_TIMEOUT_MS: String(PATIENT_TIMEOUT_MS),
    });
    assert.equal((await patient.buy(sale.saleId, 'ada')).status, 201);
    await usePause(t, replica);
    const waiting = patient.buy(sale.saleId, 'bob');
    await eventually(async () => assert.equal((await sale.state()).stock[0]!.held, 2));
    const { shards: busy } = patient.internals;
    const startedAt = performance.now();
    assert.match(await busy.of(sale.saleId).client.info('server'), /run_id/);
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < PATIENT_TIMEOUT_MS / 2, `a read took ${tookMs} ms`);
    replica.resume();
    assert.equal((await waiting).status, 201, 'it came back in time');
  });

  it('with too few replicas nothing is decided', async () => {
    const sale = await openSale(shards, { phone: 10 });
    assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
    await replica.kill();
    await untilReplicasAre(master, 0);
    for (const buyer of ['ada', 'bob']) {
      await assertUnknown(() => hotPath.buy(sale.saleId, buyer));
    }
    await assertUnknown(() => hotPath.call(`/v1/sales/${sale.saleId}/me`, { buyer: 'ada' }));
    assert.equal((await sale.state()).stock[0]!.held, 1);
    await replica.start();
    await untilReplicasAre(master, 1);
    await eventually(async () => assert.equal((await hotPath.buy(sale.saleId, 'bob')).status, 201));
  });

  it('a replica that reconnects again and again loses and doubles no reservation', async (t) => {
    const sale = await openSale(shards, { phone: 100_000 });
    const crowd = await useRetryingCrowd(t, [hotPath], sale.saleId, { lanes: 8 });
    for (let round = 0; round < 5; round++) {
      const soldBefore = crowd.sold.size;
      await eventually(() => assert.ok(crowd.sold.size > soldBefore + 10));
      await withRedis(master.url, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
    }
    await untilReplicasAre(master, 1);
    await crowd.stop();
    const { stock, position } = await sale.state();
    assert.equal(stock[0]!.held, position);
    assert.ok(crowd.sold.size > 50, `only ${crowd.sold.size} reservations`);
    await crowd.assertSameResponses(hotPath);
    await eventually(() =>
      withRedis(replica.url, async (copy) => {
        const known = await copy.hkeys(saleKey(sale.saleId, 'buyers'));
        for (const buyer of crowd.sold.keys()) assert.ok(known.includes(buyer), buyer);
      }),
    );
  });
});
