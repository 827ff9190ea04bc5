/** Units of expired holds go to the waitlist, in the order of joining, before any other buyer can have them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { metric, untilIncreased } from '../../harness/engine/metrics.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, hold } from '../../harness/sales/purchases.ts';
import {
  applyTransition,
  assertPromisesHold,
  unitCounts,
  untilExpired,
} from '../../harness/sales/reservations.ts';
import { makeSale, setStatus } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';

const { redis, database, servers } = await useServers(FILE);

describe('the waitlist', () => {
  async function join(saleId: string, ...buyerIds: string[]): Promise<void> {
    for (const buyerId of buyerIds) {
      const request = { buyerId, sku: 'unit', quantity: 1 };
      assert.equal((await servers.shards.call(joinWaitlist, saleId, request)).outcome, 'joined');
    }
  }

  /** Buyers with a `reserved` reservation, by position. */
  async function holders(saleId: string, buyerIds: readonly string[]): Promise<string[]> {
    const found: { buyerId: string; position: number }[] = [];
    for (const buyerId of buyerIds) {
      const reply = await servers.shards.call(readBuyer, saleId, buyerId);
      if (reply.outcome !== 'known') assert.fail(reply.outcome);
      for (const { position, status } of reply.reservations) {
        if (status === 'reserved') found.push({ buyerId, position });
      }
    }
    return found.sort((a, b) => a.position - b.position).map(({ buyerId }) => buyerId);
  }

  async function changeLimit(sale: SaleDefinition, perBuyerLimit: number): Promise<SaleDefinition> {
    const definition = { ...sale, perBuyerLimit };
    const { operation } = await saleState(servers.shards, sale.saleId);
    const reply = await servers.shards.call(applyOperation, sale.saleId, {
      operation: operation + 1,
      timeline: 0,
      definition,
      changes: [],
    });
    assert.equal(reply.outcome, 'applied');
    return definition;
  }

  it('is served in order when holds expire, before any other buyer', async (test) => {
    const { saleId } = await makeSale(servers, {
      stock: 2,
      holdSeconds: 1,
      waitlistHoldSeconds: 3,
    });
    const [ada] = await hold(servers.shards, saleId, ['ada', 'bob']);
    await join(saleId, 'first', 'second', 'third', 'fourth');
    const one = await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, ada!);
    const waitlist = ['first', 'second', 'third', 'fourth'];
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, waitlist), ['first', 'second']);
    });
    assert.equal((await buy(servers.shards, saleId, ['other']))[0]!.outcome, 'sold_out');
    // The holds that it was served with expire too.
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, waitlist), ['third', 'fourth']);
    });
    await eventually(async () => {
      assert.deepEqual(await unitCounts(servers.shards, saleId), {
        remaining: 2,
        held: 0,
        confirmed: 0,
        waiting: 0,
      });
    });
    assert.equal((await buy(servers.shards, saleId, ['other']))[0]!.outcome, 'reserved');
    await assertPromisesHold(servers, saleId);
    assert.equal(await metric(one, 'flash_sale_served_total'), 4);
  });

  it('holds units as long as the sale says, and an extension adds the time of a purchase', async (test) => {
    await usePersister(test, redis.url, database.url);
    const reservationOf = async (saleId: string, buyerId: string) => {
      const reply = await servers.shards.call(readBuyer, saleId, buyerId);
      if (reply.outcome !== 'known') assert.fail(reply.outcome);
      return reply.reservations[0]!;
    };
    const lengthOf = ({ reservedAt, expiresAt }: { reservedAt: number; expiresAt: number }) =>
      expiresAt - reservedAt;

    const long = await makeSale(servers, { stock: 1, holdSeconds: 60, waitlistHoldSeconds: 600 });
    const [ada] = await hold(servers.shards, long.saleId, ['ada']);
    assert.equal(lengthOf(ada!), 60_000);
    await join(long.saleId, 'first');
    await applyTransition(servers.shards, ada!, 'give-back');
    const served = await reservationOf(long.saleId, 'first');
    assert.equal(lengthOf(served), 600_000);
    await applyTransition(servers.shards, served, 'extend');
    assert.equal(lengthOf(await reservationOf(long.saleId, 'first')), 660_000);
    await assertPromisesHold(servers, long.saleId);

    // The sweep comes for the shorter one of the two.
    const short = await makeSale(servers, { stock: 1, holdSeconds: 300, waitlistHoldSeconds: 3 });
    const [bob] = await hold(servers.shards, short.saleId, ['bob']);
    await join(short.saleId, 'first', 'second');
    await applyTransition(servers.shards, bob!, 'give-back');
    await eventually(async () =>
      assert.deepEqual(await holders(short.saleId, ['first', 'second']), ['second']),
    );
    await assertPromisesHold(servers, short.saleId);
  });

  it('skips a buyer above a limit that was lowered, and serves the next one', async (test) => {
    const sale = await makeSale(servers, { stock: 2, holdSeconds: 2, perBuyerLimit: 2 });
    const { saleId } = sale;
    const [ada, bob] = await hold(servers.shards, saleId, ['ada', 'bob']);
    // Ada has bought one unit and waits for a second one, which the lower limit no longer allows.
    assert.equal((await applyTransition(servers.shards, ada!, 'confirm')).outcome, 'changed');
    await join(saleId, 'ada', 'second');
    await changeLimit(sale, 1);
    await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, bob!);
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, ['ada', 'second']), ['second']);
    });
    assert.equal((await unitCounts(servers.shards, saleId)).waiting, 0);
    // The limit was changed in Redis alone.
    await assertPromisesHold(servers, saleId, ['redis-has-the-last-definition']);
  });

  it('is not served while the sale is paused, but when it resumes', async (test) => {
    const sale = await makeSale(servers, { stock: 1, holdSeconds: 1, waitlistHoldSeconds: 3 });
    const { saleId } = sale;
    const [ada] = await hold(servers.shards, saleId, ['ada']);
    await join(saleId, 'first', 'second');
    await setStatus(servers, sale, 'paused');
    const one = await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, ada!);
    const idle = { remaining: 1, held: 0, confirmed: 0, waiting: 2 };
    await eventually(async () => assert.deepEqual(await unitCounts(servers.shards, saleId), idle));
    await untilIncreased(() => one.metric('sweep_duration_seconds_count'), 10);
    assert.deepEqual(await unitCounts(servers.shards, saleId), idle);

    await setStatus(servers, sale, 'open');
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, ['first', 'second']), ['first']);
    });
    await assertPromisesHold(servers, saleId);
  });

  it('is served completely and in order when it is longer than one call serves', async (test) => {
    const count = 350;
    const { saleId } = await makeSale(servers, {
      stock: count,
      holdSeconds: 1,
      waitlistHoldSeconds: 600,
    });
    const buyerIds = Array.from({ length: count }, (_, index) => `holder-${index}`);
    const held = await hold(servers.shards, saleId, buyerIds);
    const waitlist = Array.from({ length: count }, (_, index) => `waiting-${index}`);
    await join(saleId, ...waitlist);
    await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, held[0]!);
    await eventually(async () => assert.deepEqual(await holders(saleId, waitlist), waitlist));
    await assertPromisesHold(servers, saleId);
  });
});
