/**
 * FLUSHALL during a sale: the sale closes by itself, is rebuilt from PostgreSQL and continues. Only reservations of the
 * moment before, which had not reached PostgreSQL, may be lost.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { buyFor, getAdmin, operate } from '../../harness/crowds/stack-client.ts';
import { useStackHome } from '../../harness/engine/stack-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { use } from '../../harness/use.ts';

const BUYING_MS = 13_000;
const BEFORE_FLUSH_MS = 6_000;
/** The longest time that a persister may lag behind Redis. */
const WINDOW_MS = 4_000;

test('after FLUSHALL during purchases, the sale is rebuilt and continues, and every promise holds', async (t) => {
  const stack = (await useStackHome(t)).start();
  const description = await stack.ready();
  const saleId = 'forgotten';
  await operate(description, '/admin/v1/sales', {
    saleId,
    name: 'Forgotten',
    currency: 'EUR',
    skus: [{ sku: 'unit', price: 100, stock: 1_000_000 }],
  });
  await operate(description, `/admin/v1/sales/${saleId}/open`);

  const buying = buyFor(BUYING_MS, description, saleId);
  await sleep(BEFORE_FLUSH_MS);
  const redis = new Redis(description.redisUrl);
  const flushedMs = performance.now();
  await redis.flushall();
  redis.disconnect();
  const { responses, reserved } = await buying;

  const failures = [...responses.keys()].filter((response) => response !== '201').sort();
  assert.ok(failures.length <= 2, failures.join());
  for (const failure of failures) assert.match(failure, /^503 (recovering|unavailable)$/);
  const after = reserved.filter(({ atMs }) => atMs > flushedMs + 100);
  assert.ok(after.length > 0, 'the sale continued');
  assert.equal(
    new Set(reserved.map(({ position }) => position)).size,
    reserved.length,
    'no position was given twice',
  );

  const sql = await use(t, () => postgres(description.postgresUrl, { max: 1 }));
  await eventually(async () => {
    const rows = await sql<{ reservation_id: string }[]>`
      SELECT reservation_id FROM reservations WHERE sale_id = ${saleId}`;
    const kept = new Set(rows.map((row) => row.reservation_id));
    const lost = reserved.filter(({ reservationId }) => !kept.has(reservationId));
    for (const { atMs } of lost) {
      assert.ok(
        atMs > flushedMs - WINDOW_MS && atMs < flushedMs + WINDOW_MS,
        'only the last reservations are lost',
      );
    }
    assert.equal(kept.size, reserved.length - lost.length, 'no row is without a response');
  });
  const verdict = await eventually(() =>
    getAdmin(stack.describe(), `/admin/v1/sales/${saleId}/verify`),
  );
  assert.equal(verdict.ok, true, JSON.stringify(verdict));
});
