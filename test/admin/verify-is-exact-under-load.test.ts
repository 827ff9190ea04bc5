/**
 * `verify` on a sale that is never at rest: a thousand purchases and more between two looks, and a persister that is
 * frozen again and again, so that PostgreSQL lacks thousands of events at any moment.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { buy, buyMany, hold } from '../../harness/sales/purchases.ts';
import { applyTransition, reservationsOf, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import type { Reservation } from '../../src/domain/reservation.ts';
import { type Report, verifySale } from '../../src/verify/verify.ts';

const FROZEN_MS = 1_000;
const BATCH = 100;
const BATCHES_PER_SECOND = 12;

function failing(report: Report) {
  return report.checks.filter(({ ok }) => !ok);
}

test('a busy sale is sound in every verdict, and one altered deadline in none', async (t) => {
  const { redis, database, servers } = await useServers(t);
  const persister = await useEngineProcess(t, 'persister', {
    NODE_ENV: 'development',
    REDIS_URL: redis.url,
    DATABASE_URL: database.url,
  });
  const { saleId } = await makeSale(servers, { stock: 1_000_000, perBuyerLimit: 3 });
  await buyMany(servers.shards, saleId, { count: 500, batchSize: BATCH, prefix: 'early' });
  await untilRows(servers, saleId, 500);

  const over = new AbortController();
  let sold = 0;
  const cut: Reservation[] = [];
  const buying = (async () => {
    for (; !over.signal.aborted; sold += BATCH) {
      const buyers = Array.from({ length: BATCH }, (_, index) => `buyer-${sold + index}`);
      await buy(servers.shards, saleId, buyers);
      // Reservations that change while they are compared.
      const [first] = await reservationsOf(servers.shards, saleId, buyers[0]!);
      await applyTransition(servers.shards, first!, 'confirm');
      // One is always left whose parts are cancelled later.
      cut.push(...(await hold(servers.shards, saleId, [`cut-${sold}`], 'unit*3')));
      const [earlier] = cut.length > 3 ? cut.splice(0, 1) : [];
      for (const restock of earlier ? [true, false] : []) {
        const items = [{ sku: 'unit', quantity: 1 }];
        await applyTransition(servers.shards, earlier!, 'cancel', { items, restock });
      }
      await sleep(1_000 / BATCHES_PER_SECOND);
    }
  })();
  const freezing = (async () => {
    while (!over.signal.aborted) {
      persister.child.kill('SIGSTOP');
      await sleep(FROZEN_MS);
      persister.child.kill('SIGCONT');
      await sleep(300);
    }
  })();

  try {
    assert.deepEqual(failing(await verifySale(servers, saleId)), []);
    await servers.sql`
      UPDATE reservations SET expires_at = expires_at + interval '1 ms'
      WHERE sale_id = ${saleId} AND buyer_id = 'early-77'`;
    const altered = await verifySale(servers, saleId);
    assert.equal(altered.ok, false);
    assert.match(JSON.stringify(failing(altered)), /early-77|_77_/);
  } finally {
    over.abort();
    await Promise.all([buying, freezing]);
  }
  assert.ok(sold > 1_500, `${sold} units were sold during the verdicts`);

  await servers.sql`
    UPDATE reservations SET expires_at = expires_at - interval '1 ms'
    WHERE sale_id = ${saleId} AND buyer_id = 'early-77'`;
  persister.child.kill('SIGSTOP');
  await buyMany(servers.shards, saleId, { count: 1_000, batchSize: BATCH, prefix: 'late' });
  const patience = { catchUpMs: 200, repeats: 0, pauseMs: 0 };
  const report = await verifySale(servers, saleId, patience);
  const compared = report.checks.find(({ name }) => name === 'every-reservation-in-redis-is-a-row');
  assert.match(
    compared!.actual,
    /^\d{4} of \d+ reservations could not be compared: PostgreSQL has the events up to \d+/,
  );
  assert.deepEqual([report.ok, compared!.ok], [false, false]);
});
