/** What holds that end give back goes to those who wait, in their order, before anybody else can have it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { metric } from '../../harness/engine/metrics.ts';
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

describe('the line', () => {
  async function join(saleId: string, ...buyerIds: string[]): Promise<void> {
    for (const buyerId of buyerIds) {
      const asked = { buyerId, sku: 'unit', quantity: 1 };
      assert.equal((await servers.shards.call(joinWaitlist, saleId, asked)).outcome, 'joined');
    }
  }

  /** Who holds something, in the order in which it was given. */
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

  it('is served in its order when holds end, and nobody comes before it', async (test) => {
    const { saleId } = await makeSale(servers, { stock: 2, holdSeconds: 1 });
    const [ada] = await hold(servers.shards, saleId, ['ada', 'bob']);
    await join(saleId, 'first', 'second', 'third', 'fourth');
    const one = await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, ada!);
    const line = ['first', 'second', 'third', 'fourth'];
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, line), ['first', 'second']);
    });
    assert.equal((await buy(servers.shards, saleId, ['passer-by']))[0]!.outcome, 'sold_out');
    // Those who were served do not pay either.
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, line), ['third', 'fourth']);
    });
    await eventually(async () => {
      assert.deepEqual(await unitCounts(servers.shards, saleId), {
        remaining: 2,
        held: 0,
        confirmed: 0,
        waiting: 0,
      });
    });
    assert.equal((await buy(servers.shards, saleId, ['passer-by']))[0]!.outcome, 'reserved');
    await assertPromisesHold(servers, saleId);
    assert.equal(await metric(one, 'flash_sale_served_total'), 4);
  });

  it('passes over whoever may no longer have as many, and goes on with the next', async (test) => {
    const sale = await makeSale(servers, { stock: 2, holdSeconds: 2, perBuyerLimit: 2 });
    const { saleId } = sale;
    const [ada, bob] = await hold(servers.shards, saleId, ['ada', 'bob']);
    // Ada paid for one and waits for another, which a lower limit then takes away.
    assert.equal((await applyTransition(servers.shards, ada!, 'confirm')).outcome, 'changed');
    await join(saleId, 'ada', 'second');
    await changeLimit(sale, 1);
    await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, bob!);
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, ['ada', 'second']), ['second']);
    });
    assert.equal((await unitCounts(servers.shards, saleId)).waiting, 0);
    await assertPromisesHold(servers, saleId);
  });

  it('is not served in a paused sale, and is once that goes on', async (test) => {
    const sale = await makeSale(servers, { stock: 1, holdSeconds: 1 });
    const { saleId } = sale;
    const [ada] = await hold(servers.shards, saleId, ['ada']);
    await join(saleId, 'first', 'second');
    await setStatus(servers, sale, 'paused');
    await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, ada!);
    const idle = { remaining: 1, held: 0, confirmed: 0, waiting: 2 };
    await eventually(async () => assert.deepEqual(await unitCounts(servers.shards, saleId), idle));
    await sleep(500);
    assert.deepEqual(await unitCounts(servers.shards, saleId), idle);

    await setStatus(servers, sale, 'open');
    await eventually(async () => {
      assert.deepEqual(await holders(saleId, ['first', 'second']), ['first']);
    });
    await assertPromisesHold(servers, saleId);
  });

  it('longer than one call serves is served to its end, in its order', async (test) => {
    const count = 350;
    const { saleId } = await makeSale(servers, { stock: count, holdSeconds: 3 });
    const buyerIds = Array.from({ length: count }, (_, index) => `holder-${index}`);
    const held = await hold(servers.shards, saleId, buyerIds);
    const line = Array.from({ length: count }, (_, index) => `in-line-${index}`);
    await join(saleId, ...line);
    await usePersister(test, redis.url, database.url);
    await untilExpired(servers.shards, held[0]!, 1_000);
    assert.deepEqual(await holders(saleId, line), line);
    await assertPromisesHold(servers, saleId);
  });
});
