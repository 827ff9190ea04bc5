/** A rehearsal sells to nobody else, announces nothing, stays out of lists, and can be removed without a trace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeDraft, newSale, useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { contentsOf } from '../../harness/servers/contents.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const hotPath = await useHotPath(FILE, admin.redis.url);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

const ENDS_AT = '2099-01-01T00:00:00Z';
const rehearsal = { rehearsal: true, endsAt: ENDS_AT };

async function openRehearsal(saleId: string): Promise<void> {
  await makeDraft(admin, { saleId, ...rehearsal });
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
}

/** Until PostgreSQL has all events. */
async function untilDurable(saleId: string, events: number): Promise<void> {
  await eventually(async () => {
    const { body } = await admin.call(`GET /sales/${saleId}`);
    assert.deepEqual([body.persister.events, body.persister.lag], [events, 0]);
  });
}

test('ids of rehearsals begin with rehearsal-, and no other id does', async () => {
  const refused = async (body: Record<string, unknown>) => {
    const { status, body: problem } = await admin.call('POST /sales', { body: newSale(body) });
    assert.equal(status, 422);
    return problem.errors.map(({ field }: { field: string }) => field);
  };
  assert.deepEqual(await refused({ saleId: 'rehearsal-1' }), ['saleId']);
  assert.deepEqual(await refused({ saleId: 'phones', ...rehearsal }), ['saleId']);
  assert.deepEqual(await refused({ rehearsal: true }), ['endsAt']);
  const named = await makeDraft(admin, { name: 'Rehearsal of phones' });
  assert.match(named, /^sale-rehearsal-of-phones-/);
  const saleId = await makeDraft(admin, rehearsal);
  assert.match(saleId, /^rehearsal-/);
  for (const each of [named, saleId]) {
    assert.equal((await admin.call(`DELETE /sales/${each}`)).status, 204);
  }
});

test('only its own buyers can buy and wait, lists do not show it, and no webhook is written', async () => {
  const url = 'https://shop.example/hook';
  assert.equal((await admin.call('POST /webhooks', { body: { url } })).status, 201);
  const saleId = 'rehearsal-quiet';
  await openRehearsal(saleId);
  const foreign = await hotPath.buy(saleId, 'ada');
  assert.deepEqual([foreign.status, foreign.body.code], [404, 'sale_not_found']);
  const waiting = await hotPath.call(`/v1/sales/${saleId}/waitlist`, {
    method: 'POST',
    buyer: 'ada',
  });
  assert.equal(waiting.status, 404);
  assert.equal((await hotPath.buy(saleId, 'rehearsal-ada')).status, 201);
  await untilDurable(saleId, 1);
  // This sale is announced later than the rehearsal.
  const other = await makeDraft(admin);
  assert.equal((await admin.call(`POST /sales/${other}/open`)).status, 200);
  await eventually(async () => {
    const rows = await admin.sql`SELECT sale_id FROM webhook_messages`;
    const deliveries = await admin.sql`SELECT sale_id FROM webhook_deliveries`;
    const saleIds = [...rows, ...deliveries].map((row) => row.saleId as string);
    assert.ok(saleIds.includes(other));
    assert.ok(!saleIds.includes(saleId));
  });
  const listed = async (path: string) => {
    const { body } = await admin.call(`GET ${path}`);
    return body.data.map((each: { saleId: string }) => each.saleId);
  };
  assert.deepEqual(await listed('/sales'), [other]);
  assert.deepEqual(await listed('/sales?rehearsals=true'), [saleId]);
  assert.deepEqual(await listed('/reservations'), []);
  assert.deepEqual(await listed(`/reservations?saleId=${saleId}`), [saleId]);
  assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 204);
});

test('in any state it is removed from both servers, also while the persister writes', async () => {
  const before = await eventually(async () => {
    const contents = await contentsOf(admin);
    assert.equal(contents.rows.webhook_messages, 0, 'messages of another sale become deliveries');
    return contents;
  });
  for (const state of ['draft', 'open', 'ended', 'archived']) {
    const saleId = `rehearsal-${state}`;
    await makeDraft(admin, { saleId, ...rehearsal });
    if (state !== 'draft') {
      assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
      const bought = await Promise.all(
        Array.from({ length: 20 }, (_, i) => hotPath.buy(saleId, `rehearsal-${state}-${i}`)),
      );
      assert.ok(bought.every(({ status }) => status === 201));
    }
    if (state === 'ended' || state === 'archived') {
      assert.equal((await admin.call(`POST /sales/${saleId}/end`)).status, 200);
    }
    if (state === 'archived') {
      await untilDurable(saleId, 20);
      const { body } = await admin.call(`GET /reservations?saleId=${saleId}`);
      for (const { reservationId } of body.data as { reservationId: string }[]) {
        await admin.call(`POST /reservations/${reservationId}/cancel`);
      }
      await eventually(async () => {
        assert.equal((await admin.call(`POST /sales/${saleId}/archive`)).status, 200);
      });
    }
    assert.equal((await admin.call(`DELETE /sales/${saleId}`, { as: 'merchant' })).status, 403);
    assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 204);
    assert.deepEqual(await contentsOf(admin), before, `after ${state}`);
    assert.equal((await admin.call(`DELETE /sales/${saleId}`)).status, 404);
  }
});

test('an open sale, and one that an earlier version created with such an id, stay', async () => {
  const { saleId } = await makeSale(admin, { saleId: 'rehearsal-of-an-earlier-version' });
  const refused = await admin.call(`DELETE /sales/${saleId}`);
  assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
});
