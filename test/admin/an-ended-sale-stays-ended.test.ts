/** A buyer who got `sale_ended` is never followed by a reservation, whatever operators change and whichever server is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AdminReply,
  makeDraft,
  stateInRedis,
  type TestAdmin,
  useAdmin,
} from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { repairRound } from '../../src/admin/sales/pending-repairer.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { lockOperations } from '../../src/postgres/sale-locks.ts';

const HOUR_MS = 3_600_000;
/** Long enough to open a sale and change it a few times, also on a slow machine. */
const SOON_MS = 4_000;
const RACE_MS = 4_000;
const admin = await useAdmin(FILE);
/** Waiting requests need all connections of the admin. */
const { sql } = await useConnections(FILE, admin.redis.url, admin.databaseUrl);

async function openUntil(endsAt: number, on: TestAdmin = admin): Promise<string> {
  const saleId = await makeDraft(on, {
    endsAt: new Date(endsAt).toISOString(),
    skus: [{ sku: 'unit', price: 1_000, stock: 100_000 }],
  });
  assert.equal((await on.call(`POST /sales/${saleId}/open`)).status, 200);
  return saleId;
}

function patch(saleId: string, change: { endsAt?: number; name?: string }): Promise<AdminReply> {
  const { endsAt, ...others } = change;
  const body = endsAt === undefined ? others : { ...others, endsAt: new Date(endsAt) };
  return admin.call(`PATCH /sales/${saleId}`, { body });
}

let buyers = 0;
async function outcomeOfPurchase(saleId: string): Promise<string> {
  const [reply] = await buy(admin.shards, saleId, [`buyer-${++buyers}`]);
  return reply!.outcome;
}

async function untilEnded(saleId: string): Promise<void> {
  await eventually(async () => assert.equal(await outcomeOfPurchase(saleId), 'sale_ended'));
}

function assertTooLate({ status, body }: AdminReply, endsAt: number): void {
  assert.deepEqual([status, body.code], [409, 'invalid_transition'], JSON.stringify(body));
  const end = new Date(endsAt).toISOString();
  assert.equal(
    body.detail,
    `The change came too late: the sale ended at ${end}. Nothing was changed.`,
  );
  assert.equal(body.endsAt, end);
}

/** The recorded end of the sale and of each operation, and the outcomes of the operations. */
async function recorded(saleId: string) {
  const [sale] = await sql<{ name: string; endsAt: Date | null }[]>`
    SELECT name, ends_at FROM sales WHERE sale_id = ${saleId}`;
  const operations = await sql<{ outcome: string; definition: SaleDefinition }[]>`
    SELECT outcome, definition FROM sale_operations WHERE sale_id = ${saleId} ORDER BY operation`;
  return {
    name: sale!.name,
    endsAt: sale!.endsAt?.getTime(),
    outcomes: operations.map(({ outcome }) => outcome),
    names: operations.map(({ definition }) => definition.name),
    ends: operations.map(({ definition }) => definition.endsAt),
  };
}

/** Records operations while the lock keeps them from Redis; the promises resolve after `meanwhile`. */
async function recordAndDelay(
  saleId: string,
  requests: readonly (() => Promise<AdminReply>)[],
  meanwhile: () => Promise<void>,
): Promise<AdminReply[]> {
  const responses: Promise<AdminReply>[] = [];
  await sql.begin(async (tx) => {
    await lockOperations(tx, saleId);
    const { length } = (await recorded(saleId)).outcomes;
    for (const [index, request] of requests.entries()) {
      responses.push(request());
      await eventually(async () => {
        assert.equal((await recorded(saleId)).outcomes.length, length + index + 1);
      });
    }
    await meanwhile();
  });
  return Promise.all(responses);
}

test('a later end that reaches Redis after the end is refused as a whole, and operations behind it are applied without it', async () => {
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  const later = endsAt + HOUR_MS;
  const load = () =>
    admin.call(`POST /sales/${saleId}/stock`, {
      body: { sku: 'unit', delta: 5 },
      headers: { 'idempotency-key': 'load' },
    });
  const [late, named, loaded, again] = await recordAndDelay(
    saleId,
    [
      () => patch(saleId, { name: 'Too late', endsAt: later }),
      () => admin.call(`PATCH /sales/${saleId}`, { body: { perBuyerLimit: 7 } }),
      load,
      () => patch(saleId, { endsAt: later + HOUR_MS }),
    ],
    () => untilEnded(saleId),
  );
  assertTooLate(late!, endsAt);
  assertTooLate(again!, endsAt);
  assert.deepEqual(
    [named!.status, named!.body.name, named!.body.perBuyerLimit, Date.parse(named!.body.endsAt)],
    [200, 'Phones', 7, endsAt],
  );
  assert.deepEqual([loaded!.status, loaded!.body.loaded], [200, 100_005]);
  assert.equal((await load()).headers['idempotent-replayed'], 'true');
  assert.equal((await patch(saleId, { endsAt: later })).status, 409, 'it is also refused later');
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');

  const { definition, operation } = await stateInRedis(admin, saleId);
  assert.deepEqual([definition.endsAt, definition.name, operation], [endsAt, 'Phones', 6]);
  assert.deepEqual(await recorded(saleId), {
    name: 'Phones',
    endsAt,
    outcomes: ['applied', 'applied', 'sale_ended', 'applied', 'applied', 'sale_ended'],
    names: Array.from({ length: 6 }, () => 'Phones'),
    ends: Array.from({ length: 6 }, () => endsAt),
  });
  const { body } = await admin.call(`GET /sales/${saleId}/audit`);
  const kept = body.data.filter(({ action }: { action: string }) => action === 'end_kept');
  assert.deepEqual(
    kept.map(({ details }: { details: object }) => details),
    [
      { operation: 6, endsAt },
      { operation: 3, endsAt },
    ],
  );
});

test('a repeated request for a later end is refused too, when the first attempt is still pending', async () => {
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  const later = endsAt + HOUR_MS;
  const [first] = await recordAndDelay(
    saleId,
    [() => patch(saleId, { endsAt: later })],
    async () => {
      await untilEnded(saleId);
      // As after a response that got lost: PostgreSQL already has the new end.
      setTimeout(() => void patch(saleId, { endsAt: later }).then(repeated.resolve), 0);
      await eventually(async () => {
        const waiting = await sql`
          SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`;
        assert.ok(waiting.length >= 2);
      });
    },
  );
  assertTooLate(first!, endsAt);
  const { status, body } = await repeated.promise;
  assert.deepEqual([status, body.code], [409, 'invalid_transition']);
});
const repeated = Promise.withResolvers<AdminReply>();

test('an end that is moved in time takes effect, to later and to earlier', async () => {
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  assert.equal((await patch(saleId, { endsAt: endsAt + HOUR_MS })).status, 200);
  await eventually(async () => {
    assert.ok((await stateInRedis(admin, saleId)).nowMs > endsAt);
  });
  assert.equal(await outcomeOfPurchase(saleId), 'reserved');
  const past = Date.now() - 1;
  assert.equal((await patch(saleId, { endsAt: past })).status, 200);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
  assert.equal((await patch(saleId, { endsAt: past + HOUR_MS })).status, 409);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
});

test('of changes that race with the end, none is followed by a reservation once a buyer got sale_ended', async (t) => {
  const hotPath = await useHotPath(t, admin.redis.url);
  await Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      const endsAt = Date.now() + RACE_MS;
      const saleId = await openUntil(endsAt);
      const racing = new Promise<AdminReply>((resolve) => {
        // From before the end until after it, as Redis receives them.
        setTimeout(
          () => void patch(saleId, { endsAt: endsAt + HOUR_MS }).then(resolve),
          endsAt - Date.now() - 24 + 2 * index,
        );
      });
      const outcomes: number[] = [];
      const change = { isSettled: false };
      const settled = racing.finally(() => {
        change.isSettled = true;
      });
      const buyOne = async () => {
        outcomes.push((await hotPath.buy(saleId, `buyer-${++buyers}`)).status);
      };
      while (!change.isSettled || Date.now() < endsAt + 50) await buyOne();
      // The last of these may have been decided before the end.
      await buyOne();
      const { status } = await settled;
      const firstRefusal = outcomes.indexOf(410);
      const isFinal = firstRefusal === -1 || !outcomes.slice(firstRefusal).includes(201);
      assert.ok(isFinal, `a reservation after sale_ended (the change got ${status})`);
      assert.equal(firstRefusal === -1, status === 200, `the response was ${status}`);
    }),
  );
});

test('a later end that was recorded while Redis was down is refused if Redis returns after the end', async () => {
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  await admin.redis.kill();
  await eventually(() => assert.ok(!admin.shards.isReady));
  assert.equal((await patch(saleId, { endsAt: endsAt + HOUR_MS })).status, 503);
  await eventually(() => assert.ok(Date.now() > endsAt));
  await admin.redis.start();
  await eventually(() => assert.ok(admin.shards.isReady));
  const fence = admin.shards.of(saleId).runId!;
  await admin.shards.of(saleId).client.hset(saleKey(saleId, 'sale'), 'fence', fence);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
  await repairRound(admin);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
  assert.equal((await recorded(saleId)).endsAt, endsAt);
  assert.equal((await patch(saleId, { endsAt: endsAt + HOUR_MS })).status, 409);
});

test('an ended sale that is rebuilt stays ended, though a later end was recorded before it ended', async (t) => {
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  assert.equal(await outcomeOfPurchase(saleId), 'reserved');
  const [late] = await recordAndDelay(
    saleId,
    [() => patch(saleId, { endsAt: endsAt + HOUR_MS })],
    async () => {
      await untilEnded(saleId);
      await admin.shards.of(saleId).client.flushall();
    },
  );
  assert.equal(late!.status, 503);
  await usePersister(t, admin.redis.url, admin.databaseUrl);
  await untilOpen(admin, saleId);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
  await repairRound(admin);
  assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
  assert.equal((await recorded(saleId)).endsAt, endsAt);
});

for (const how of ['an end', 'an earlier end'] as const) {
  test(`${how} that Redis has applied and PostgreSQL has as pending survives a rebuild`, async (t) => {
    const saleId = await openUntil(Date.now() + HOUR_MS);
    const { definition, timeline } = await stateInRedis(admin, saleId);
    await usePersister(t, admin.redis.url, admin.databaseUrl);
    assert.equal(await outcomeOfPurchase(saleId), 'reserved');
    await untilRows(admin, saleId, 1);
    const change =
      how === 'an end' ? ({ status: 'ended' } as const) : { endsAt: Date.now() - 1_000 };
    const request = () =>
      how === 'an end'
        ? admin.call(`POST /sales/${saleId}/end`)
        : patch(saleId, { endsAt: change.endsAt! });
    const responses: Promise<AdminReply>[] = [];
    // The response of Redis is lost, and the lock keeps the admin from repeating the call.
    await sql.begin(async (tx) => {
      await lockOperations(tx, saleId);
      responses.push(request());
      await eventually(async () =>
        assert.equal((await recorded(saleId)).outcomes.at(-1), 'pending'),
      );
      const reply = await admin.shards.call(applyOperation, saleId, {
        operation: 3,
        timeline,
        definition: { ...definition, ...change },
        changes: [],
      });
      assert.equal(reply.outcome, 'applied');
      assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
      await admin.shards.of(saleId).client.flushall();
    });
    await Promise.all(responses);
    await untilOpen(admin, saleId);
    assert.equal(await outcomeOfPurchase(saleId), 'sale_ended');
    await repairRound(admin);
    assert.equal((await recorded(saleId)).outcomes.at(-1), 'applied');
    await assertPromisesHold(admin, saleId);
  });
}

test('a sale that its clock has ended is ended for operators as for buyers, and nothing changes it any more', async (t) => {
  const hotPath = await useHotPath(t, admin.redis.url);
  const endsAt = Date.now() + SOON_MS;
  const saleId = await openUntil(endsAt);
  const load = (delta: number, key?: string) =>
    admin.call(`POST /sales/${saleId}/stock`, {
      body: { sku: 'unit', delta },
      headers: key ? { 'idempotency-key': key } : {},
    });
  assert.equal((await load(5, 'before')).status, 200);
  const paused = await openUntil(endsAt);
  assert.equal((await admin.call(`POST /sales/${paused}/pause`)).body.status, 'paused');
  await untilEnded(saleId);
  const { operation } = await stateInRedis(admin, saleId);

  for (const id of [saleId, paused]) {
    assert.equal((await hotPath.call(`/v1/sales/${id}`)).body.status, 'ended');
    assert.equal((await admin.call(`GET /sales/${id}`)).body.status, 'ended');
  }
  const { body: list } = await admin.call('GET /sales?limit=100');
  const listed = list.data.filter((sale: { saleId: string }) =>
    [saleId, paused].includes(sale.saleId),
  );
  assert.deepEqual(
    listed.map(({ status }: { status: string }) => status),
    ['ended', 'ended'],
  );
  for (const request of [
    admin.call(`POST /sales/${saleId}/open`),
    admin.call(`POST /sales/${saleId}/pause`),
    admin.call(`POST /sales/${saleId}/resume`),
    admin.call(`POST /sales/${paused}/resume`),
    admin.call(`POST /sales/${paused}/open`),
    admin.call(`DELETE /sales/${saleId}`),
    patch(saleId, { name: 'Other' }),
    patch(saleId, { endsAt: endsAt + HOUR_MS }),
    admin.call(`PATCH /sales/${saleId}`, { body: { skus: [{ sku: 'unit', price: 1 }] } }),
    load(1),
    load(-1),
  ]) {
    const { status, body } = await request;
    assert.deepEqual(
      [status, body.code, body.from],
      [409, 'invalid_transition', 'ended'],
      body.detail,
    );
  }
  assert.equal((await load(5, 'before')).headers['idempotent-replayed'], 'true');
  assert.equal((await patch(saleId, { name: 'Phones', endsAt })).status, 200, 'nothing changes');
  assert.equal((await stateInRedis(admin, saleId)).operation, operation);
  for (let repeats = 0; repeats < 2; repeats++) {
    const { status, body } = await admin.call(`POST /sales/${saleId}/end`);
    assert.deepEqual([status, body.status], [200, 'ended']);
  }
});

test("operators see a sale's end by the sale's time, and by PostgreSQL's clock while Redis is unavailable", async (t) => {
  const own = await useAdmin(t);
  const endsAt = Date.now() + HOUR_MS;
  const saleId = await openUntil(endsAt, own);
  const statuses = async () => [
    (await own.call(`GET /sales/${saleId}`)).body.status,
    (await own.call('GET /sales')).body.data[0].status,
  ];
  assert.deepEqual(await statuses(), ['open', 'open']);
  // A decision was made at the end of the sale, before Redis' clock was set back.
  await own.shards.of(saleId).client.hset(saleKey(saleId, 'sale'), 'time', String(endsAt));
  assert.deepEqual(await statuses(), ['ended', 'ended']);
  assert.equal((await own.call(`POST /sales/${saleId}/pause`)).status, 409);
  await own.redis.kill();
  await eventually(() => assert.ok(!own.shards.isReady));
  assert.deepEqual(await statuses(), ['open', 'open'], "PostgreSQL's clock is before the end");
  await own.sql`UPDATE sales SET ends_at = now() - interval '1 second' WHERE sale_id = ${saleId}`;
  assert.deepEqual(await statuses(), ['ended', 'ended']);
  const { status, body } = await own.call(`POST /sales/${saleId}/pause`);
  assert.deepEqual([status, body.code], [409, 'invalid_transition']);
});

test('a draft has not ended, although its end has passed', async () => {
  const saleId = await makeDraft(admin, {
    endsAt: new Date(Date.now() - 1_000).toISOString(),
    skus: [{ sku: 'unit', price: 1_000, stock: 10 }],
  });
  assert.equal(await outcomeOfPurchase(saleId), 'sale_not_started');
  assert.equal((await patch(saleId, { endsAt: Date.now() + HOUR_MS })).status, 200);
  assert.equal((await admin.call(`POST /sales/${saleId}/open`)).status, 200);
  assert.equal(await outcomeOfPurchase(saleId), 'reserved');
});
