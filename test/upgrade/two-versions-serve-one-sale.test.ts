/**
 * A rolling upgrade of running sales with real processes of an earlier commit: admin first, then the persister, then the
 * hot path. Each works beside the one that it replaces. And the way back, while no sale has begun in this version.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { useRetryingCrowd } from '../../harness/crowds/retrying-crowd.ts';
import { type EarlierVersion, useEarlierVersion } from '../../harness/engine/earlier-version.ts';
import {
  BuyerClient,
  CLIENT_ENVIRONMENT,
  callAdminAt,
} from '../../harness/engine/engine-client.ts';
import { runEngineCommand } from '../../harness/engine/engine-command.ts';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { metric, untilIncreased } from '../../harness/engine/metrics.ts';
import { eventually } from '../../harness/eventually.ts';
import { rowCount } from '../../harness/sales/reservations.ts';
import { type Connections, useConnections } from '../../harness/servers/connections.ts';
import { useEmptyDatabase } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

/**
 * The last commit before short records (ADR 31) and one row for a reservation (ADR 32). A later change of a format needs
 * a later commit here.
 */
const EARLIER = 'fa64b90d637f7b1fbb974407f1bcf8a5077958d0';
const LANES = 2;
const SOLD_BETWEEN = 20;

type Kind = Parameters<typeof useEngineProcess>[1];

const earlier = await useEarlierVersion(FILE, EARLIER);

/** Both versions on the same two servers, whose schema is the earlier one. Undefined: the commit is not here. */
async function useBothVersions(t: TestContext) {
  if (!earlier) {
    t.skip(`There is no commit ${EARLIER} here. After \`git fetch --unshallow\` this test runs.`);
    return undefined;
  }
  const redis = await useRedis(t);
  const database = await useEmptyDatabase(t);
  const environment = {
    ...CLIENT_ENVIRONMENT,
    REDIS_URL: redis.url,
    DATABASE_URL: database.url,
    DURABILITY: 'fast',
  };
  await runEngineCommand(['migrate'], environment, earlier.mainModule);
  const start = async (kind: Kind, version?: EarlierVersion) => {
    const engine = await useEngineProcess(t, kind, environment, version?.mainModule);
    return engine.untilReady();
  };
  return {
    startEarlier: (kind: Kind) => start(kind, earlier),
    startPresent: (kind: Kind) => start(kind),
    migrate: () => runEngineCommand(['migrate'], environment),
    servers: await useConnections(t, redis.url, database.url),
  };
}

async function openSaleAt(admin: EngineProcess, saleId: string, stock: number): Promise<void> {
  const skus = [{ sku: 'unit', price: 1_000, stock }];
  const sale = { saleId, name: saleId, currency: 'EUR', skus };
  assert.equal((await callAdminAt(admin, 'POST /sales', { body: sale })).status, 201);
  assert.equal((await callAdminAt(admin, `POST /sales/${saleId}/open`)).status, 200);
}

async function assertVerified(admin: EngineProcess, saleId: string): Promise<void> {
  const { body } = await callAdminAt(admin, `GET /sales/${saleId}/verify`);
  const failed = body.checks.filter(({ ok }: { ok: boolean }) => !ok);
  assert.deepEqual([body.ok, failed], [true, []]);
}

function eventsWritten(persister: EngineProcess): Promise<number> {
  return metric(persister, 'flash_sale_persister_events_written_total');
}

/** How docs/OPERATIONS.md tells whether the earlier version can read a sale. */
function hasShortRecords({ shards }: Connections, saleId: string): Promise<string | null> {
  return shards.of(saleId).client.hget(saleKey(saleId, 'sale'), 'hasShortRecords');
}

test('running sales go on while admin, the persister and the hot path are replaced one after the other, and back', async (t) => {
  const versions = await useBothVersions(t);
  if (!versions) return;
  const { startEarlier, startPresent, migrate, servers } = versions;
  const [oldAdmin, oldPersister, oldHotPath] = await Promise.all(
    (['admin', 'persister', 'hot-path'] as const).map(startEarlier) as [
      Promise<EngineProcess>,
      Promise<EngineProcess>,
      Promise<EngineProcess>,
    ],
  );
  const atOld = new BuyerClient(oldHotPath);
  await openSaleAt(oldAdmin, 'long', 1_000_000);
  await openSaleAt(oldAdmin, 'short', 20);
  const oldCrowd = await useRetryingCrowd(t, [atOld], 'long', { lanes: LANES, prefix: 'old' });
  const moreAreSold = async ({ sold } = oldCrowd) => {
    const before = sold.size;
    await eventually(() => assert.ok(sold.size > before + SOLD_BETWEEN));
  };
  const winners = new Map<string, string>();
  const buyShort = async (client: BuyerClient, buyer: string) => {
    const { status, body } = await client.buy('short', buyer, { key: 'cart' });
    if (status === 201) winners.set(buyer, body.reservationId);
    return status;
  };
  for (let i = 1; i <= 5; i++) assert.equal(await buyShort(atOld, `early-${i}`), 201);
  await moreAreSold();

  // The schema first, while only the earlier version runs.
  await migrate();
  await moreAreSold();

  // Both admins: each repeats what the other one did.
  const admin = await startPresent('admin');
  const load = { body: { sku: 'unit', delta: 2 }, key: 'load' };
  const loaded = await callAdminAt(admin, 'POST /sales/short/stock', load);
  const again = await callAdminAt(oldAdmin, 'POST /sales/short/stock', load);
  assert.deepEqual([loaded.status, again.status], [200, 200]);
  assert.deepEqual(again.body, loaded.body);
  const payment = { body: { paymentRef: 'pay_1' } };
  const path = `POST /reservations/${winners.get('early-1')}/confirm`;
  assert.equal((await callAdminAt(oldAdmin, path, payment)).status, 200);
  assert.equal((await callAdminAt(admin, path, payment)).headers['idempotent-replayed'], 'true');
  await oldAdmin.stop();

  // Both persisters write the same history.
  const persister = await startPresent('persister');
  await untilIncreased(() => eventsWritten(persister), 1);
  await moreAreSold();
  await oldPersister.stop();

  // Both hot paths sell the same sales.
  const hotPath = await startPresent('hot-path');
  const atNew = new BuyerClient(hotPath);
  const newCrowd = await useRetryingCrowd(t, [atNew], 'long', { lanes: LANES, prefix: 'new' });
  await moreAreSold(newCrowd);
  await moreAreSold(oldCrowd);
  const statuses: number[] = [];
  for (let i = 1; i <= 30; i++) statuses.push(await buyShort(i % 2 ? atOld : atNew, `late-${i}`));
  const sold = (which: number[]) => which.filter((status) => status === 201).length;
  assert.equal(sold(statuses), 22 - 5, statuses.join());
  assert.equal(winners.size, 22);
  for (const client of [atOld, atNew]) {
    for (const [buyer, reservationId] of winners) {
      const { status, body } = await client.buy('short', buyer, { key: 'cart' });
      assert.deepEqual([status, body.reservationId], [200, reservationId], buyer);
    }
    const refused = await client.buy('short', 'too-late');
    assert.deepEqual([refused.status, refused.body.code], [409, 'sold_out']);
  }
  // A unit that is given back at one of them is sold by the other one.
  for (const [from, to, buyer] of [
    [atOld, atNew, 'early-2'],
    [atNew, atOld, 'early-3'],
  ] as const) {
    const back = await from.call(`POST /v1/reservations/${winners.get(buyer)}/cancel`, buyer);
    assert.equal(back.status, 200);
    await eventually(async () => assert.equal(await buyShort(to, `instead-of-${buyer}`), 201));
  }
  await oldCrowd.stop();
  await oldCrowd.assertSameResponses(atNew);
  await newCrowd.assertSameResponses(atOld);
  await oldHotPath.stop();
  await assertVerified(admin, 'short');
  for (const saleId of ['long', 'short']) {
    assert.equal(await hasShortRecords(servers, saleId), null, 'the way back is open');
  }

  // The way back: the earlier processes go on with the new schema, because these sales have the earlier format.
  const [, backPersister, backHotPath] = await Promise.all([
    newCrowd.stop().then(() => hotPath.stop()),
    startEarlier('persister'),
    startEarlier('hot-path'),
  ]);
  await persister.stop();
  const back = new BuyerClient(backHotPath);
  const lastCrowd = await useRetryingCrowd(t, [back], 'long', { lanes: LANES, prefix: 'back' });
  await moreAreSold(lastCrowd);
  await lastCrowd.stop();
  await newCrowd.assertSameResponses(back);
  const buyers = oldCrowd.sold.size + newCrowd.sold.size + lastCrowd.sold.size;
  await eventually(async () => assert.equal(await rowCount(servers, 'long'), buyers));
  assert.ok((await eventsWritten(backPersister)) > 0);
  for (const saleId of ['long', 'short']) await assertVerified(admin, saleId);
  t.diagnostic(`${buyers} reservations, ${oldCrowd.retries + newCrowd.retries} retries`);
});

test('a sale that begins in this version is sold and kept once, while processes of the earlier one are left', async (t) => {
  const versions = await useBothVersions(t);
  if (!versions) return;
  const { startEarlier, startPresent, migrate, servers } = versions;
  await migrate();
  const [admin, hotPath, oldHotPath, oldPersister] = await Promise.all([
    startPresent('admin'),
    startPresent('hot-path'),
    startEarlier('hot-path'),
    startEarlier('persister'),
  ]);
  const [atNew, atOld] = [new BuyerClient(hotPath), new BuyerClient(oldHotPath)];
  await openSaleAt(admin, 'begun', 10);
  const sold = new Map<string, string>();
  for (let i = 1; i <= 4; i++) {
    const { status, body } = await atNew.buy('begun', `new-${i}`, { key: 'cart' });
    assert.equal(status, 201);
    sold.set(`new-${i}`, body.reservationId);
  }
  assert.equal(await hasShortRecords(servers, 'begun'), '1');

  // The earlier hot path cannot read these buyers' records: it gives them nothing, also not by another key.
  for (const buyer of sold.keys()) {
    for (const sent of [{ key: 'cart' }, { key: 'other' }, {}]) {
      const { status, body } = await atOld.buy('begun', buyer, sent);
      assert.equal(status, 503, JSON.stringify(body));
    }
  }
  for (let i = 1; i <= 6; i++) {
    const { status, body } = await atOld.buy('begun', `old-${i}`, { key: 'cart' });
    assert.equal(status, 201, JSON.stringify(body));
    sold.set(`old-${i}`, body.reservationId);
  }
  for (const client of [atNew, atOld]) {
    const { status, body } = await client.buy('begun', 'too-late', { key: 'cart' });
    assert.deepEqual([status, body.code], [409, 'sold_out']);
  }

  // The earlier persister leaves what it cannot read to one of this version, which gets it once the other one has ended.
  await eventually(async () => {
    assert.ok((await metric(oldPersister, 'flash_sale_persister_waiting_entries')) > 0);
  });
  assert.ok((await rowCount(servers, 'begun')) < 10);
  await Promise.all([startPresent('persister'), oldPersister.stop()]);
  await eventually(async () => assert.equal(await rowCount(servers, 'begun'), 10));
  await oldHotPath.stop();
  for (const [buyer, reservationId] of sold) {
    const { status, body } = await atNew.buy('begun', buyer, { key: 'cart' });
    assert.deepEqual([status, body.reservationId], [200, reservationId], buyer);
  }
  await assertVerified(admin, 'begun');
});
