/**
 * While more sockets are ready than one turn of the event loop handles, no timer fires and no turn ends. Responses must
 * depend on neither, so these tests disable both.
 */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { pino } from 'pino';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE, use } from '../../harness/use.ts';
import {
  Batcher,
  type BatcherObserver,
  type QueuedPurchase,
} from '../../src/hot-path/buy/batcher.ts';
import { SaleViews, VIEW_AGE_MS_MAX } from '../../src/hot-path/sales/sale-views.ts';

const { servers } = await useServers(FILE);
const { shards } = servers;
const SILENT = pino({ level: 'silent' });

/** Adds what became of it to `settled`. */
function purchaseOf(index: number, itemCount: number, settled: string[]): QueuedPurchase {
  return {
    buyerId: `buyer-${index}`,
    fingerprint: 1 + index,
    idempotencyKey: '',
    items: 'unit*1',
    itemCount,
    requestId: `r-${index}`,
    traceparent: '',
    repeats: 0,
    queuedAt: performance.now(),
    isAborted: false,
    settle: ({ outcome }) => settled.push(outcome),
    fail: ({ code }) => settled.push(code),
  };
}

test('a view that requests read is refreshed without a timer', async (context) => {
  const { saleId } = await makeSale(servers);
  context.mock.timers.enable({ apis: ['setInterval'] });
  const views = await use(context, () => new SaleViews(shards, SILENT, () => undefined));
  let lookup = await views.read(saleId);
  for (let refreshes = 0; refreshes < 4; refreshes++) {
    assert.ok(lookup.outcome === 'known');
    const { readAt } = lookup.view;
    // While the view may still be used.
    const peek = () => views.peek(saleId, VIEW_AGE_MS_MAX, readAt + VIEW_AGE_MS_MAX / 2);
    assert.equal(peek()?.outcome, 'known');
    lookup = await eventually(() => {
      const next = peek();
      assert.ok(next?.outcome === 'known' && next.view.readAt > readAt);
      return next;
    });
  }
});

test('a full batch is sent before the turn ends, a partial one when it ends and no call is in flight; baskets count by their items', async (context) => {
  const { saleId } = await makeSale(servers, { stock: 100 });
  context.mock.timers.enable({ apis: ['setImmediate'] });
  const limits = { batchSizeMax: 4, inFlightMax: 2, waitingMax: 100, backlogMax: () => 1_000 };
  const settled: string[] = [];
  const observer = {
    decided: mock.fn<BatcherObserver['decided']>(),
    faulted: mock.fn(),
    failed: assert.ifError,
  };
  const batcher = new Batcher(saleId, shards, limits, observer);
  const buyer = (index: number, itemCount = 1) => purchaseOf(index, itemCount, settled);
  for (let index = 0; index < 3; index++) assert.ok(batcher.submit(buyer(index)));
  assert.deepEqual([batcher.inFlight, batcher.waiting], [0, 3]);
  assert.ok(batcher.submit(buyer(3)));
  assert.deepEqual([batcher.inFlight, batcher.waiting], [1, 0]);
  assert.ok(batcher.submit(buyer(4)));
  assert.deepEqual([batcher.inFlight, batcher.waiting], [1, 1]);
  context.mock.timers.tick(0);
  assert.deepEqual([batcher.inFlight, batcher.waiting], [1, 1]);
  await eventually(() => {
    context.mock.timers.tick(0);
    assert.ok(batcher.isIdle);
  });
  assert.deepEqual(
    settled,
    Array.from({ length: 5 }, () => 'reserved'),
  );
  assert.deepEqual(observer.decided.mock.callCount(), 2);

  const manyItems = new Batcher(saleId, shards, { ...limits, batchSizeMax: 100 }, observer);
  for (let index = 5; index < 17; index++) assert.ok(manyItems.submit(buyer(index, 10)));
  context.mock.timers.tick(0);
  assert.deepEqual([manyItems.inFlight, manyItems.waiting], [2, 2]);
  await eventually(() => {
    context.mock.timers.tick(0);
    assert.ok(manyItems.isIdle);
  });
  const sizes = observer.decided.mock.calls.map(({ arguments: [, batch] }) => batch.length);
  assert.deepEqual(sizes, [4, 1, 5, 5, 2]);
});

test('purchases are refused once the calls for the items before them would take too long', async () => {
  const { saleId } = await makeSale(servers, { stock: 1_000 });
  const limits = { batchSizeMax: 128, inFlightMax: 1, waitingMax: 1_000, backlogMax: () => 1_000 };
  const settled: string[] = [];
  const observer = { decided: mock.fn(), faulted: mock.fn(), failed: assert.ifError };
  const batcher = new Batcher(saleId, shards, limits, observer);
  await shards.of(saleId).client.call('CLIENT', 'PAUSE', '2000', 'WRITE');
  assert.ok(batcher.submit(purchaseOf(0, 10, settled)));
  await eventually(() => assert.ok(batcher.isIdle));
  let accepted = 0;
  // A call takes 6 such baskets, and is expected to take two seconds, more or less.
  while (batcher.submit(purchaseOf(accepted + 1, 10, settled))) accepted += 1;
  assert.ok(accepted > 0 && accepted < 20, `${accepted} were accepted`);
  await eventually(() => assert.ok(batcher.isIdle));
  assert.deepEqual(new Set(settled), new Set(['reserved']));
});
