import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import postgres from 'postgres';
import { Pool } from 'undici';
import type { StackDescription } from '../../src/stack/stack-description.ts';
import { eventually } from '../support/eventually.ts';
import { freeze, thaw } from '../support/freeze.ts';
import { StackHome } from './stack-process.ts';

const BUYING_MS = 9_000;
const BUYERS_AT_ONCE = 20;
/** Far below how long PostgreSQL is frozen: a buy that waited for it would stand out. */
const PATIENCE_MS = 2_000;

test('persister and admin killed, PostgreSQL frozen: buying goes on, nothing is lost or doubled', async (t) => {
  const stack = new StackHome(t).start();
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
  await sleep(4_000);
  thaw(description.pids.postgres);
  const { statuses, slowestMs } = await buying;

  assert.deepEqual([...statuses.keys()], [201], 'every buyer was told yes');
  const sold = statuses.get(201)!;
  assert.ok(sold > 100, `only ${sold} were sold`);
  assert.ok(slowestMs < PATIENCE_MS, `somebody waited ${slowestMs} ms`);

  const sql = postgres(description.postgresUrl, { max: 1 });
  try {
    await eventually(
      async () => {
        const [row] = await sql`
          SELECT count(*)::int AS rows, count(DISTINCT buyer_id)::int AS buyers
          FROM reservations WHERE sale_id = ${saleId}`;
        assert.deepEqual({ ...row }, { rows: sold, buyers: sold });
      },
      { timeoutMs: 20_000 },
    );
  } finally {
    await sql.end();
  }
  const verdict = await eventually(() => ask(stack.describe(), `/admin/v1/sales/${saleId}/verify`));
  assert.equal(verdict.ok, true, JSON.stringify(verdict));
});

interface Bought {
  statuses: Map<number, number>;
  slowestMs: number;
}

/** New buyers all the time, so many at once, each pressing once. */
async function buyFor(
  durationMs: number,
  stack: StackDescription,
  saleId: string,
): Promise<Bought> {
  const sign = createSigner({ key: stack.jwtSecret, algorithm: 'HS256' });
  const pool = new Pool(stack.hotPathUrl, { connections: BUYERS_AT_ONCE });
  const bought: Bought = { statuses: new Map(), slowestMs: 0 };
  const endsAt = performance.now() + durationMs;
  let buyers = 0;
  const oneAfterTheOther = async () => {
    while (performance.now() < endsAt) {
      const startedAt = performance.now();
      const { statusCode, body } = await pool.request({
        path: `/v1/sales/${saleId}/buy`,
        method: 'POST',
        headers: { authorization: `Bearer ${sign({ sub: `buyer-${++buyers}` })}` },
      });
      await body.dump();
      bought.statuses.set(statusCode, (bought.statuses.get(statusCode) ?? 0) + 1);
      bought.slowestMs = Math.max(bought.slowestMs, performance.now() - startedAt);
      // Enough to be busy all the time, not so much that the other tests starve.
      await sleep(5);
    }
  };
  await Promise.all(Array.from({ length: BUYERS_AT_ONCE }, oneAfterTheOther));
  await pool.close();
  return bought;
}

async function operate(stack: StackDescription, path: string, body?: unknown): Promise<void> {
  const response = await fetch(stack.adminUrl + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${stack.adminToken}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  assert.ok(response.ok, `${path} answered ${response.status}: ${await response.text()}`);
}

async function ask(stack: StackDescription, path: string): Promise<{ ok: boolean }> {
  const response = await fetch(stack.adminUrl + path, {
    headers: { authorization: `Bearer ${stack.adminToken}` },
  });
  assert.equal(response.status, 200);
  return (await response.json()) as { ok: boolean };
}
