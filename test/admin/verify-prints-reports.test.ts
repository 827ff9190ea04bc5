/** The report of `verify`: as a table, as JSON, and while Redis is unavailable. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE, use } from '../../harness/use.ts';
import { runVerify } from '../../src/cli/verify.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { Shards } from '../../src/redis/shards.ts';
import { CATALOGUE } from '../../src/verify/catalogue.ts';
import type { Progress } from '../../src/verify/check.ts';
import { verifySale } from '../../src/verify/verify.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

test('without Redis the report fails and gives the reason', async (t) => {
  const { saleId } = await makeSale(admin);
  const shards = await use(
    t,
    () =>
      new Shards({
        url: 'redis://127.0.0.1:1',
        name: 'test',
        commandTimeoutMs: 100,
        requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
        log: admin.log,
        onUnfit: () => undefined,
      }),
  );
  const patience = { catchUpMs: 5_000, repeats: 1, pauseMs: 50 };
  const { checks } = await verifySale({ ...admin, shards }, saleId, patience);
  const failing = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  assert.deepEqual(failing, ['redis-knows-the-sale']);
  assert.match(checks[0]!.actual, /not reachable/);
});

test('its progress counts the checks, then the reservations, up to all of them', async () => {
  const { saleId } = await makeSale(admin, { stock: 3_000 });
  await buyMany(admin.shards, saleId, { count: 3_000, batchSize: 100 });
  await untilRows(admin, saleId, 3_000);
  const reached: Progress[] = [];
  const { ok } = await verifySale(admin, saleId, undefined, (progress) => reached.push(progress));
  assert.ok(ok);
  const parts = reached.map(({ part }) => part);
  assert.deepEqual([...new Set(parts)], ['catching up', 'checks', 'reservations']);
  assert.deepEqual(reached.at(-1), { part: 'reservations', done: 3_000, of: 3_000 });
  for (const part of new Set(parts)) {
    const done = reached.filter((each) => each.part === part).map((each) => each.done);
    assert.deepEqual(
      done,
      done.toSorted((a, b) => a - b),
    );
  }
});

test('the command prints every check, as a table or as JSON, and returns whether all pass', async (t) => {
  const { saleId } = await makeSale(admin);
  await buyMany(admin.shards, saleId, { count: 40, batchSize: 7 });
  await untilRows(admin, saleId, 40);
  Object.assign(process.env, { REDIS_URL: admin.redis.url, DATABASE_URL: admin.databaseUrl });
  const printed: string[] = [];
  t.mock.method(console, 'log', (line: string) => printed.push(line));
  assert.equal(await runVerify({ sale: saleId, json: false }), true);
  assert.match(printed[0]!, new RegExp(`^${saleId}: every check passed\n  ✓ redis-knows`));
  assert.deepEqual(
    Array.from(printed[0]!.matchAll(/^ {2}✓ (\S+)/gm), ([, name]) => name),
    checksOf('live'),
    'in the order of the catalogue',
  );
  await admin.shards.of(saleId).client.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 1);
  assert.equal(await runVerify({ sale: saleId, json: true }), false);
  const [report] = JSON.parse(printed[1]!);
  assert.deepEqual([report.saleId, report.ok], [saleId, false]);
  await admin.call(`GET /sales/${saleId}/verify`);
  const metrics = await admin.call('GET //metrics');
  assert.match(metrics.body, /^flash_sale_failed_checks_total\{check="stock-adds-up",.*\} 1$/m);
  assert.equal(await runVerify({ sale: 'none', json: false }), false);
  assert.match(printed[2]!, /✗ sale-exists/);
});

function checksOf(scope: string): string[] {
  const checks = Object.entries(CATALOGUE);
  return checks.filter(([, { of = 'live' }]) => [scope, 'both'].includes(of)).map(([name]) => name);
}
