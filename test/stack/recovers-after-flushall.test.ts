/**
 * FLUSHALL in the middle of a sale: the sale closes by itself, is rebuilt from PostgreSQL and sells on. What was
 * acknowledged in the moment before, and had not reached PostgreSQL, is all that may be gone.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { buyFor, getAdmin, operate } from '../../harness/crowds/stack-client.ts';
import { useStackHome } from '../../harness/engine/stack-process.ts';
import { eventually } from '../../harness/eventually.ts';

const BUYING_MS = 8_000;
/** What a persister of a running sale is behind Redis at the very most. */
const WINDOW_MS = 2_000;

test('after FLUSHALL in mid-sale the sale is rebuilt, goes on, and every promise holds', async (t) => {
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
  await sleep(3_500);
  const redis = new Redis(description.redisUrl);
  const flushedMs = performance.now();
  await redis.flushall();
  redis.disconnect();
  const { responses, reserved } = await buying;

  const words = [...responses.keys()].filter((word) => word !== '201').sort();
  assert.ok(words.length <= 2, words.join());
  for (const word of words) assert.match(word, /^503 (recovering|unavailable)$/);
  const after = reserved.filter(({ atMs }) => atMs > flushedMs + 100);
  assert.ok(after.length > 0, 'the sale went on');
  assert.equal(
    new Set(reserved.map(({ position }) => position)).size,
    reserved.length,
    'no position was told twice',
  );

  const sql = postgres(description.postgresUrl, { max: 1 });
  try {
    await eventually(async () => {
      const rows = await sql<{ reservation_id: string }[]>`
        SELECT reservation_id FROM reservations WHERE sale_id = ${saleId}`;
      const kept = new Set(rows.map((row) => row.reservation_id));
      const lost = reserved.filter(({ reservationId }) => !kept.has(reservationId));
      for (const { atMs } of lost) {
        assert.ok(atMs > flushedMs - WINDOW_MS && atMs < flushedMs + WINDOW_MS, 'only the last');
      }
      assert.equal(kept.size, reserved.length - lost.length, 'nothing that nobody was told of');
    });
  } finally {
    await sql.end();
  }
  const verdict = await eventually(() =>
    getAdmin(stack.describe(), `/admin/v1/sales/${saleId}/verify`),
  );
  assert.equal(verdict.ok, true, JSON.stringify(verdict));
});
