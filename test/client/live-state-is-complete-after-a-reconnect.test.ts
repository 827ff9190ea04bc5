/** The client's live subscription: own changes arrive, and after every kind of loss the state is complete again. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { FlashSale, type LiveSale, type LiveState } from '../../clients/typescript/src/index.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const other = await useHotPath(FILE, redis.url);
const LIMITS = { responseMsMax: 700, totalMsMax: 5_000 };

interface Watched {
  live: LiveSale;
  states: LiveState[];
  reaches: (holds: (state: LiveState) => boolean, what: string) => Promise<LiveState>;
}

function useLive(
  t: TestContext,
  url: string,
  saleId: string,
  choices: { buyer?: string; refreshMs?: number } = {},
): Promise<Watched> {
  const { buyer, refreshMs } = choices;
  const client = new FlashSale({ url, token: buyer && tokenOf(buyer), ...LIMITS });
  const states: LiveState[] = [];
  return use(
    t,
    () => {
      const live = client.watch(saleId, { refreshMs, onChange: (state) => states.push(state) });
      const reaches: Watched['reaches'] = (holds, what) =>
        eventually(() => {
          assert.ok(holds(live.state), `${what}: ${JSON.stringify(live.state)}`);
          return live.state;
        });
      return { live, states, reaches };
    },
    ({ live }) => live.close(),
  );
}

const isLive = ({ connection, isComplete }: LiveState) => connection === 'live' && isComplete;

test('a buyer sees the sale, the own reservation and the own wait change', async (t) => {
  const sale = await openSale(shards, { phone: 1, case: 3 }, { perBuyerLimit: 3 });
  const { live, states, reaches } = await useLive(t, other.url, sale.saleId, { buyer: 'ada' });
  const first = await reaches(isLive, 'live');
  assert.deepEqual([first.reservations, first.waits], [[], []]);
  assert.equal(first.sale?.skus[0]?.price, 1_999);
  assert.equal(states[0]?.connection, 'connecting', 'the sale is shown before it is live');

  await other.buy(sale.saleId, 'bob', { body: { sku: 'phone' } });
  await reaches(({ sale: seen }) => seen?.skus[0]?.soldOut === true, 'sold out');
  await other.buy(sale.saleId, 'ada', { body: { sku: 'case' } });
  const path = `/v1/sales/${sale.saleId}/waitlist`;
  await other.call(path, { method: 'POST', buyer: 'ada', body: { sku: 'phone' } });
  await reaches(({ waits }) => waits[0]?.place === 1, 'on the waitlist');
  const bought = await reaches(({ reservations }) => reservations.length === 1, 'reserved');
  const { reservationId } = bought.reservations[0]!;
  await other.call(`/v1/reservations/${reservationId}/cancel`, { method: 'POST', buyer: 'ada' });
  await reaches(({ reservations }) => reservations[0]?.status === 'cancelled', 'cancelled');

  live.close();
  const count = states.length;
  await sale.change({ status: 'ended' });
  assert.equal(states.length, count, 'a closed subscription says nothing');
});

test('a hot path restarts: what happened meanwhile is there, and what ended is gone', async (t) => {
  const { saleId } = await openSale(shards, { phone: 3, case: 0 }, { perBuyerLimit: 3 });
  const [port] = await findFreePorts(1);
  const environment = { HOT_PATH_PORT: String(port) };
  const before = await useHotPath(t, redis.url, environment);
  const { reaches, states } = await useLive(t, before.url, saleId, { buyer: 'cleo' });
  await reaches(isLive, 'live');
  const bought = await before.buy(saleId, 'cleo', { body: { sku: 'phone' } });
  assert.equal(bought.status, 201);
  await before.call(`/v1/sales/${saleId}/waitlist`, {
    method: 'POST',
    buyer: 'cleo',
    body: { sku: 'case' },
  });
  await reaches(({ waits, reservations }) => waits.length + reservations.length === 2, 'both');

  await before.close();
  await reaches(({ connection, isComplete }) => connection === 'offline' && !isComplete, 'offline');
  const { reservationId } = bought.body;
  const cancel = { method: 'POST', buyer: 'cleo' };
  await other.call(`/v1/reservations/${reservationId}/cancel`, cancel);
  await other.call(`/v1/sales/${saleId}/waitlist`, { method: 'DELETE', buyer: 'cleo' });
  await other.buy(saleId, 'cleo', { body: { sku: 'phone', quantity: 2 } });
  await useHotPath(t, redis.url, environment);
  const after = await reaches(isLive, 'live again');
  assert.deepEqual(
    after.reservations.map(({ status }) => status),
    ['cancelled', 'reserved'],
  );
  assert.deepEqual(after.waits, [], 'the server does not send that a wait has ended');
  assert.equal(after.sale?.skus[0]?.remaining, 1);
  assert.ok(states.every(({ isComplete, connection }) => !isComplete || connection === 'live'));
});

test('a connection that dies without a close is noticed and replaced', async (t) => {
  const { saleId } = await openSale(shards, { phone: 5 });
  const { port } = other.internals;
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port });
  const url = `http://127.0.0.1:${proxy.port}`;
  const { reaches } = await useLive(t, url, saleId, { refreshMs: 200 });
  await reaches(isLive, 'live');
  proxy.stall();
  await other.buy(saleId, 'dora');
  await reaches(({ connection }) => connection === 'offline', 'offline');
  proxy.heal();
  const state = await reaches(isLive, 'live again');
  assert.equal(state.sale?.skus[0]?.remaining, 4);
});

test('a token that ends and a sale that does not exist are named', async (t) => {
  const { saleId } = await openSale(shards, { phone: 5 });
  const expired = tokenOf('eve', { exp: 1_000 });
  const client = new FlashSale({ url: other.url, token: () => token, ...LIMITS });
  let token = expired;
  const live = await use(t, () => client.watch(saleId, { onChange: () => undefined }));
  await eventually(() => assert.equal(live.state.problem?.code, 'unauthorized'));
  assert.equal(live.state.sale?.skus[0]?.remaining, 5, 'the sale is public');
  token = tokenOf('eve');
  await eventually(() => assert.ok(isLive(live.state)));

  const none = await useLive(t, other.url, 'no-such-sale');
  const { problem } = await none.reaches(({ connection }) => connection === 'closed', 'closed');
  assert.equal(problem?.code, 'sale_not_found');
});

test('a pause, a resumption and the end arrive', async (t) => {
  const sale = await openSale(shards, { phone: 5 });
  const { reaches } = await useLive(t, other.url, sale.saleId);
  await reaches(isLive, 'live');
  for (const status of ['paused', 'open', 'ended'] as const) {
    await sale.change({ status });
    await reaches(({ sale: seen }) => seen?.status === status, status);
  }
});

test('a draft that opens later is shown with its start, never as open', async (t) => {
  const sale = await openSale(shards, { phone: 5 }, { status: 'draft' });
  const { reaches, states } = await useLive(t, other.url, sale.saleId);
  await reaches(isLive, 'live');
  await sale.change({ status: 'open', startsAt: Date.now() + 60_000 });
  await reaches(({ sale: seen }) => seen?.status === 'open', 'open');
  const opened = states.filter(({ sale: seen }) => seen?.status === 'open');
  assert.ok(opened.every(({ sale: seen }) => seen?.startsAt !== null));
});
