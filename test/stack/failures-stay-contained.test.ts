/** Purchases continue while the persister and the admin are killed and PostgreSQL is frozen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { buyFor, getAdmin, operate } from '../../harness/crowds/stack-client.ts';
import { useStackHome } from '../../harness/engine/stack-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { use } from '../../harness/use.ts';

const FROZEN_MS = 8_000;
const BUYING_MS = 13_000;
/** Below the time that PostgreSQL is frozen: a purchase that waited for it would exceed this. */
const PURCHASE_MS_MAX = 6_000;

test('persister and admin killed, PostgreSQL frozen: purchases continue, and none is lost or doubled', async (t) => {
  // On a busy machine no call of Redis times out.
  const stack = (await useStackHome(t)).start({ env: { REDIS_COMMAND_TIMEOUT_MS: '20000' } });
  const description = await stack.ready();
  const saleId = 'fire';
  await operate(description, '/admin/v1/sales', {
    saleId,
    name: 'Fire',
    currency: 'EUR',
    skus: [{ sku: 'unit', price: 100, stock: 1_000_000 }],
  });
  await operate(description, `/admin/v1/sales/${saleId}/open`);

  const buying = buyFor(BUYING_MS, description, saleId);
  await sleep(1_000);
  process.kill(description.pids.persister[0]!, 'SIGKILL');
  process.kill(description.pids.admin, 'SIGKILL');
  await sleep(2_000);
  freeze(description.pids.postgres);
  await sleep(FROZEN_MS);
  thaw(description.pids.postgres);
  const { responses, reserved, slowestMs } = await buying;

  assert.deepEqual([...responses.keys()], ['201'], 'every purchase succeeded');
  const sold = reserved.length;
  assert.ok(sold > 100, `only ${sold} were sold`);
  assert.ok(slowestMs < PURCHASE_MS_MAX, `a purchase took ${slowestMs} ms`);

  const sql = await use(t, () => postgres(description.postgresUrl, { max: 1 }));
  await eventually(
    async () => {
      const [row] = await sql`
        SELECT count(*)::int AS rows, count(DISTINCT buyer_id)::int AS buyers
        FROM reservations WHERE sale_id = ${saleId}`;
      assert.deepEqual({ ...row }, { rows: sold, buyers: sold });
    },
    { timeoutMs: 20_000 },
  );
  const verdict = await eventually(() =>
    getAdmin(stack.describe(), `/admin/v1/sales/${saleId}/verify`),
  );
  assert.equal(verdict.ok, true, JSON.stringify(verdict));
});
