/**
 * Every event of every type is delivered once to each endpoint that subscribed to it, signed as Standard Webhooks
 * specifies.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { useWebhookPersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { SECRET, useReceiver } from '../../harness/network/webhook-receiver.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { recordStockChange } from '../../harness/sales/recovery.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendTransition, saleState } from '../../harness/sales/stream.ts';
import {
  deliveriesOf,
  expectedIds,
  statesOf,
  subscribe,
  useEngine,
} from '../../harness/sales/webhooks.ts';
import { FILE } from '../../harness/use.ts';
import { WEBHOOK_EVENTS } from '../../src/domain/webhook.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';

const engine = await useEngine(FILE);

describe('every event is delivered', () => {
  afterEach(async () => {
    await engine.sql`DELETE FROM webhook_endpoints`;
  });

  async function buyOne(saleId: string, buyerId: string) {
    const [bought] = await buy(engine.shards, saleId, [buyerId]);
    assert.ok(bought?.outcome === 'reserved');
    return { buyerId, record: bought.record };
  }

  /** Sells out a new sale and waits for the delivery that says so. */
  async function untilSoldOutAnnounced(url: string): Promise<void> {
    const { saleId } = await makeSale(engine, { stock: 1 });
    const webhookId = await subscribe(engine.sql, url, { events: ['sale.sold_out'], saleId });
    await buyOne(saleId, 'first');
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1 }),
    );
  }

  it('once for each type, with a signature that the library accepts', async (test) => {
    const receiver = await useReceiver(test);
    const webhookId = await subscribe(engine.sql, receiver.url);
    await useWebhookPersister(test, engine);
    const definition = await makeSale(engine, { stock: 3 });
    const { saleId } = definition;
    const types = () => receiver.received.map(({ message }) => String(message?.type));

    const first = await buyOne(saleId, 'first');
    const second = await buyOne(saleId, 'second');
    const third = await buyOne(saleId, 'third');
    await eventually(() => assert.ok(types().includes('sale.sold_out')));
    await appendTransition(engine.shards, saleId, first, { status: 'C' });
    const detail = '{"actor":"merchant","transition":"attach","paymentRef":"pay-1"}';
    await appendTransition(engine.shards, saleId, first, { status: 'C', version: 3, detail });
    const part = '{"actor":"merchant","transition":"cancel","items":[{"sku":"unit","quantity":1}]}';
    await appendTransition(engine.shards, saleId, first, { status: 'C', version: 4, detail: part });
    await appendTransition(engine.shards, saleId, second, { status: 'X' });
    await appendTransition(engine.shards, saleId, third, { status: 'E' });
    await engine.shards.call(applyOperation, saleId, {
      operation: 2,
      timeline: 0,
      definition,
      changes: [{ sku: 'unit', delta: 1 }],
    });
    await eventually(() => assert.ok(types().includes('sale.restocked')));
    await engine.shards.call(applyOperation, saleId, {
      operation: 3,
      timeline: 0,
      definition: { ...definition, status: 'ended' },
      changes: [],
    });
    await engine.shards.publishChanged(saleId);

    const all = [...WEBHOOK_EVENTS, 'reservation.reserved', 'reservation.reserved'].sort();
    await eventually(() => assert.deepEqual(types().sort(), all));
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: all.length }),
    );
    assert.equal(receiver.ids().length, all.length, 'each message has its own id');
    for (const { attempts } of await deliveriesOf(engine.sql, webhookId)) assert.equal(attempts, 1);

    const byType = (type: string) =>
      receiver.received.find(({ message }) => message?.type === type)!;
    const { id, message } = byType('reservation.confirmed');
    const { reservation, version } = message!.data;
    assert.equal(id, `evt_${reservation!.reservationId}_2`);
    assert.equal(version, 2);
    assert.equal(reservation!.status, 'confirmed');
    assert.equal(reservation!.buyerId, 'first');
    assert.equal(reservation!.source, 'purchase');
    assert.deepEqual(reservation!.items, [{ sku: 'unit', quantity: 1, unitPrice: 1_000 }]);
    assert.deepEqual(byType('reservation.partly_cancelled').message!.data.cancelled, [
      { sku: 'unit', quantity: 1 },
    ]);
    assert.match(message!.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(byType('sale.sold_out').message!.data.sale!.skus, [
      { sku: 'unit', remaining: 0, soldOut: true },
    ]);
    assert.equal(byType('sale.ended').message!.data.sale!.status, 'ended');
  });

  it('for one SKU of two that sells out and is restocked, while the sale goes on', async (test) => {
    const receiver = await useReceiver(test);
    const skus = ['other', 'unit'].map((sku) => ({ sku, name: sku, price: 1_000 }));
    const definition = await makeSale(engine, { skus });
    const { saleId } = definition;
    const load = async (operation: number) => {
      await recordStockChange(engine, saleId, { operation, delta: 1, outcome: 'applied' });
      const changes = [{ sku: 'unit', delta: 1 }];
      await engine.shards.call(applyOperation, saleId, {
        operation,
        timeline: 0,
        definition,
        changes,
      });
    };
    await load(2);
    await useWebhookPersister(test, engine);
    const events = ['sku.sold_out', 'sku.restocked', 'sale.sold_out'] as const;
    await subscribe(engine.sql, receiver.url, { events: [...events], saleId });
    await buyOne(saleId, 'first');
    const seen = () =>
      receiver.received.map(({ message }) => [message?.type, message?.data.sku] as const);
    await eventually(() => assert.deepEqual(seen(), [['sku.sold_out', 'unit']]));
    assert.deepEqual(receiver.received[0]!.message!.data.sale!.skus, [
      { sku: 'other', remaining: 100_000, soldOut: false },
      { sku: 'unit', remaining: 0, soldOut: true },
    ]);
    await load(3);
    await engine.shards.publishChanged(saleId);
    await eventually(() => assert.deepEqual(seen()[1], ['sku.restocked', 'unit']));
    assert.equal(seen().length, 2, 'the sale was never sold out');
  });

  it('signed with the earlier secrets too while they sign, and with the present one only afterwards', async (test) => {
    const receiver = await useReceiver(test);
    const webhookId = await subscribe(engine.sql, receiver.url, { events: ['sale.opened'] });
    const newest = `whsec_${Buffer.alloc(32, 8).toString('base64')}`;
    const rotate = (signsFor: string) => engine.sql`
      UPDATE webhook_endpoints SET secret = ${newest}, earlier_secrets = jsonb_build_array(jsonb_build_object(
        'secret', ${SECRET}::text, 'signsUntil', now() + ${signsFor}::text::interval))
      WHERE webhook_id = ${webhookId}`;
    await rotate('1 hour');
    await useWebhookPersister(test, engine);
    await makeSale(engine);
    await eventually(() => assert.equal(receiver.received.length, 1));
    const { headers, payload, message } = receiver.received[0]!;
    assert.ok(message, 'the earlier secret verifies it');
    assert.ok(new Webhook(newest).verify(payload, headers));
    assert.equal(headers['webhook-signature']!.split(' ').length, 2);

    await rotate('-1 second');
    await makeSale(engine);
    await eventually(() => assert.equal(receiver.received.length, 2));
    const after = receiver.received[1]!;
    assert.equal(after.message, undefined, 'the earlier secret no longer verifies it');
    assert.ok(new Webhook(newest).verify(after.payload, after.headers));
    await eventually(async () => {
      const [row] = await engine.sql`
        SELECT earlier_secrets FROM webhook_endpoints WHERE webhook_id = ${webhookId}`;
      assert.deepEqual(row!.earlierSecrets, [], 'it is forgotten');
    });
  });

  it('soon, also when an operator changes a sale that has been idle', async (test) => {
    const receiver = await useReceiver(test);
    await useWebhookPersister(test, engine);
    const definition = await makeSale(engine);
    const { saleId } = definition;
    const webhookId = await subscribe(engine.sql, receiver.url, { events: ['sale.ended'], saleId });
    await buyOne(saleId, 'first');
    await eventually(async () => {
      const { drained, events } = await saleState(engine.shards, saleId);
      assert.equal(drained, events);
    });
    // Its drain falls asleep.
    await sleep(1_000);
    await engine.shards.call(applyOperation, saleId, {
      operation: 2,
      timeline: 0,
      definition: { ...definition, status: 'ended' },
      changes: [],
    });
    await engine.shards.publishChanged(saleId);
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1 }),
    );
  });

  it('only to endpoints that subscribed to its type and its sale', async (test) => {
    const receiver = await useReceiver(test);
    await useWebhookPersister(test, engine);
    const [one, other] = [await makeSale(engine), await makeSale(engine)];
    const all = await subscribe(engine.sql, receiver.url, { events: ['reservation.reserved'] });
    const mine = await subscribe(engine.sql, receiver.url, {
      events: ['reservation.reserved', 'reservation.confirmed'],
      saleId: one.saleId,
    });
    const none = await subscribe(engine.sql, receiver.url, { events: ['reservation.expired'] });
    const bought = await buyOne(one.saleId, 'first');
    await buyOne(other.saleId, 'second');
    await appendTransition(engine.shards, one.saleId, bought, { status: 'C' });

    const types = async (webhookId: string) =>
      (await deliveriesOf(engine.sql, webhookId)).map(({ eventType }) => eventType).sort();
    await eventually(async () => {
      assert.deepEqual(await types(all), ['reservation.reserved', 'reservation.reserved']);
      assert.deepEqual(await types(mine), ['reservation.confirmed', 'reservation.reserved']);
    });
    assert.deepEqual(await types(none), []);
  });

  it('once, by two persisters that write, announce and deliver', async (test) => {
    const receiver = await useReceiver(test);
    const webhookId = await subscribe(engine.sql, receiver.url);
    // No attempt times out, and no lease ends, however slow the machine is.
    const webhooks = { timeoutMs: 20_000, leaseMs: 60_000 };
    await useWebhookPersister(test, engine, { webhooks });
    await useWebhookPersister(test, engine, { webhooks });
    const { saleId } = await makeSale(engine, { stock: 300 });
    await buyMany(engine.shards, saleId, { count: 300, batchSize: 10 });
    const expected = async () =>
      [
        ...(await expectedIds(engine.sql, saleId)),
        `evt_${saleId}_sale-opened_1`,
        `evt_${saleId}_sku-sold_out_2`,
        `evt_${saleId}_sale-sold_out_3`,
      ].sort();
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 303 }),
    );
    assert.deepEqual(receiver.ids(), await expected());
    assert.equal(receiver.received.length, 303, 'nothing was sent twice');
  });

  it('also when the clock of Redis was set back by a day, but not from an older check', async (test) => {
    const receiver = await useReceiver(test);
    const { saleId } = await makeSale(engine, { stock: 1 });
    const subscription = { events: ['sale.sold_out'], saleId };
    const webhookId = await subscribe(engine.sql, receiver.url, subscription);
    await buyOne(saleId, 'first');
    const { nowMs } = await saleState(engine.shards, saleId);
    await engine.sql`
      INSERT INTO sale_announcements (sale_id, phase, looked_at_ms) VALUES (${saleId}, 'opened', ${nowMs + 45_000})`;
    await useWebhookPersister(test, engine);
    // A round checks every sale. A whole one is over when two later sales were announced in turn.
    await untilSoldOutAnnounced(receiver.url);
    await untilSoldOutAnnounced(receiver.url);
    assert.deepEqual(await statesOf(engine.sql, webhookId), {});
    await engine.sql`
      UPDATE sale_announcements SET looked_at_ms = ${nowMs + 86_400_000} WHERE sale_id = ${saleId}`;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1 }),
    );
  });

  it('and without endpoints no delivery is stored', async (test) => {
    await useWebhookPersister(test, engine);
    const { saleId } = await makeSale(engine);
    await buyMany(engine.shards, saleId, { count: 10, batchSize: 10 });
    await eventually(async () => assert.equal((await expectedIds(engine.sql, saleId)).length, 10));
    const [row] = await engine.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM webhook_deliveries WHERE sale_id = ${saleId}`;
    assert.equal(row!.count, 0);
  });
});
