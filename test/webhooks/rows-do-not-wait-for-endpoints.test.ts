/** The rows of reservations do not wait for deliveries, however many endpoints there are, and no delivery gets lost. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { useWebhookPersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { deliveriesOf, expectedIds, subscribe, useEngine } from '../../harness/sales/webhooks.ts';
import { FILE } from '../../harness/use.ts';
import { fanOut, MESSAGES_PER_FAN_OUT } from '../../src/persister/webhooks/fan-out.ts';

const engine = await useEngine(FILE);
/** Nobody listens there. */
const URL = 'http://127.0.0.1:9/';
const BOUGHT = 2 * MESSAGES_PER_FAN_OUT + 50;

it('rows are written while no delivery can be, and every endpoint gets its deliveries later', async (test) => {
  const { saleId } = await makeSale(engine);
  const all = await subscribe(engine.sql, URL);
  const ofSale = await subscribe(engine.sql, URL, { saleId, events: ['reservation.reserved'] });
  const others = await subscribe(engine.sql, URL, { saleId: 'another' });
  const blocker = await engine.sql.reserve();
  await blocker`BEGIN`;
  await blocker`LOCK TABLE webhook_deliveries IN SHARE MODE`;
  await useWebhookPersister(test, engine);
  await buyMany(engine.shards, saleId, { count: BOUGHT, batchSize: 50 });
  await untilRows(engine, saleId, BOUGHT);

  const late = await subscribe(engine.sql, URL, { saleId });
  await blocker`COMMIT`;
  blocker.release();
  const expected = (await expectedIds(engine.sql, saleId)).toSorted();
  assert.equal(expected.length, BOUGHT);
  await eventually(async () => {
    for (const webhookId of [all, ofSale]) {
      const made = await deliveriesOf(engine.sql, webhookId);
      const ids = made.filter(({ eventType }) => eventType === 'reservation.reserved');
      assert.deepEqual(ids.map(({ messageId }) => messageId).toSorted(), expected);
    }
  });
  for (const webhookId of [others, late]) {
    assert.equal((await deliveriesOf(engine.sql, webhookId)).length, 0);
  }
});

it('persisters that fan out at the same time share the messages', async () => {
  await engine.sql`DELETE FROM webhook_endpoints`;
  await engine.sql`DELETE FROM webhook_messages`;
  const webhookId = await subscribe(engine.sql, URL);
  const count = 3 * MESSAGES_PER_FAN_OUT;
  await engine.sql`
    INSERT INTO webhook_messages (message_id, event_type, sale_id, payload)
    SELECT 'evt_' || n, 'reservation.reserved', 'any', '{}' FROM generate_series(1, ${count}::int) AS n`;
  const moved = await Promise.all([1, 2, 3, 4].map(() => fanOut(engine.sql)));
  assert.ok(moved.every((each) => each <= MESSAGES_PER_FAN_OUT));
  while ((await fanOut(engine.sql)) > 0);
  const ids = (await deliveriesOf(engine.sql, webhookId)).map(({ messageId }) => messageId);
  assert.equal(new Set(ids).size, count);
  assert.equal(ids.length, count);
});
