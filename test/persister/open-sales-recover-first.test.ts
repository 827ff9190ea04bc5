/**
 * After Redis restarted or lost its data, sales are recovered in the order of their urgency: those that somebody waits
 * for, then open ones. Ended sales follow in the background, or as soon as somebody asks for one.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import { TurnQueue, URGENCY, type Urgency } from '../../src/persister/turn-queue.ts';

const ENDED = 8;

describe('an open sale beside many ended ones', () => {
  /** Sales whose recovery was recorded. */
  async function recovered({ sql }: Connections): Promise<string[]> {
    const rows = await sql<{ saleId: string }[]>`
      SELECT DISTINCT sale_id FROM sale_recoveries`;
    return rows.map(({ saleId }) => saleId);
  }

  async function makeSales(servers: Connections): Promise<{ ended: string[]; open: string }> {
    const ended: string[] = [];
    for (let i = 0; i < ENDED; i++) {
      ended.push((await makeSale(servers, { status: 'ended' })).saleId);
    }
    const { saleId: open } = await makeSale(servers);
    return { ended, open };
  }

  /** Recoveries of these sales wait until the returned function is called. */
  async function delayRecoveries({ sql }: Connections, saleIds: string[]) {
    const connection = await sql.reserve();
    await connection`BEGIN`;
    await connection`SELECT FROM sales WHERE sale_id = ANY(${saleIds}) FOR UPDATE`;
    return async () => {
      await connection`COMMIT`;
      connection.release();
    };
  }

  for (const loss of ['restart', 'flush'] as const) {
    it(`is recovered after a ${loss} without waiting for them, and an ended one if a buyer asks for it`, async (test) => {
      const { redis, database, servers } = await useServers(test);
      const { ended, open } = await makeSales(servers);
      const last = ended.at(-1)!;
      await usePersister(test, redis.url, database.url);
      const hotPath = await useHotPath(test, redis.url);
      await buy(servers.shards, open, ['ada']);
      await untilRows(servers, open, 1);
      // The hot path has seen both launched.
      for (const saleId of [open, last]) {
        assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 200);
      }
      const proceed = await delayRecoveries(servers, ended.slice(0, -1));

      if (loss === 'restart') await redis.restart();
      else await servers.shards.of(open).client.flushall();
      await untilOpen(servers, open);
      await eventually(async () => {
        const { status } = await hotPath.call(`/v1/sales/${last}/me`, { buyer: 'ada' });
        assert.equal(status, 200);
      });
      await eventually(async () => {
        assert.deepEqual(new Set(await recovered(servers)), new Set([open, last]));
      });
      await proceed();
      for (const saleId of ended) await untilOpen(servers, saleId);
    });
  }
});

describe('turns', () => {
  const begun = () => new Promise((resolve) => setImmediate(resolve));

  /** A queue of one turn and the lane at rest, in which a turn runs until `release`. */
  async function busyQueue() {
    const stopping = new AbortController();
    const turns = new TurnQueue(1, stopping.signal);
    let release = (): void => undefined;
    const busy = turns.run(
      {},
      URGENCY.selling,
      () => new Promise<void>((resolve) => (release = resolve)),
    );
    await begun();
    return { turns, stopping, busy, release };
  }

  it('are granted to the most urgent sale first, and to one as soon as somebody waits for it', async () => {
    const { turns, busy, release } = await busyQueue();
    const order: string[] = [];
    const promoted = {};
    const run = (name: string, urgency: Urgency, drain: object = {}) =>
      turns.run(drain, urgency, async () => void order.push(name));
    const runs = [
      run('paused', URGENCY.paused),
      run('promoted', URGENCY.paused, promoted),
      run('starting', URGENCY.starting),
      run('selling', URGENCY.selling),
      run('selling later', URGENCY.selling),
    ];
    turns.promote(promoted);
    release();
    await Promise.all([busy, ...runs]);
    assert.deepEqual(order, ['promoted', 'selling', 'selling later', 'starting', 'paused']);
  });

  it('for sales at rest run beside the others, one at a time', async () => {
    const { turns, busy, release } = await busyQueue();
    let running = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++running);
      await begun();
      running -= 1;
    };
    await Promise.all([1, 2, 3].map(() => turns.run({}, URGENCY.atRest, work)));
    assert.equal(most, 1);
    release();
    await busy;
  });

  it('that wait are given up when the process stops', async () => {
    const { turns, stopping, busy, release } = await busyQueue();
    const waiting = turns.run({}, URGENCY.selling, async () => assert.fail('it ran'));
    stopping.abort();
    await assert.rejects(waiting, { name: 'StoppingError' });
    await assert.rejects(turns.run({}, URGENCY.atRest, async () => undefined));
    release();
    await busy;
  });
});
