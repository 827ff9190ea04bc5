import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedUpgrade, useWatcher } from '../../harness/crowds/live-watcher.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);

type Ask = () => Promise<{ status: number }>;

/** On a busy machine some allowance has accrued since the last request: `spend` takes it first. */
async function assertLimited(spend: Ask, ask: Ask): Promise<void> {
  const statuses: number[] = [];
  for (let attempts = 0; attempts < 3 && statuses.at(-1) !== 429; attempts++) {
    await spend();
    statuses.push((await ask()).status);
  }
  assert.equal(statuses.at(-1), 429, statuses.join());
}

test('a buyer over the rate gets 429, others are served, and the buyer is served after waiting', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { BUYER_REQUESTS_PER_SECOND: '2' });
  const { saleId } = await openSale(shards, { phone: 10 });
  const replies = await Promise.all(
    Array.from({ length: 100 }, () => hotPath.buy(saleId, 'eve', { key: 'k' })),
  );
  const limited = replies.filter(({ status }) => status === 429);
  // The allowance of ten seconds, and what accrues meanwhile on a slow machine.
  assert.ok(limited.length >= 60 && limited.length <= 80, `${limited.length} were limited`);
  for (const { headers, body } of limited) {
    assert.match(headers['content-type']!, /^application\/problem\+json/);
    assert.equal(body.code, 'rate_limited');
    assert.match(String(headers['retry-after']), /^[1-5]$/);
  }
  assert.equal(replies.filter(({ status }) => status === 201).length, 1);

  // The limit counts the buyer's requests of every kind.
  const buyAgain = () => hotPath.buy(saleId, 'eve', { key: 'k' });
  for (const path of [`/v1/sales/${saleId}/me`, `/v1/reservations/${saleId}_1_aaaaaaaa`]) {
    await assertLimited(buyAgain, () => hotPath.call(path, { buyer: 'eve' }));
  }
  const join = { method: 'POST', buyer: 'eve' };
  await assertLimited(buyAgain, () => hotPath.call(`/v1/sales/${saleId}/waitlist`, join));
  assert.equal((await hotPath.buy(saleId, 'ada')).status, 201);
  assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 200);
  await eventually(async () =>
    assert.equal((await hotPath.buy(saleId, 'eve', { key: 'k' })).status, 200),
  );
  const { body: metrics } = await hotPath.call('/metrics');
  const counted = /^flash_sale_rate_limited_total\{by="buyer".*\} (\d+)$/m.exec(metrics)?.[1];
  assert.ok(Number(counted) >= limited.length + 3, `${counted} were counted`);
});

test('the default limit lets a thousand requests at once pass', async (t) => {
  const hotPath = await useHotPath(t, redis.url, {});
  const { saleId } = await openSale(shards, { phone: 10 });
  const buy = () => hotPath.buy(saleId, 'ada', { key: 'k' });
  const statuses = (await Promise.all(Array.from({ length: 1_000 }, buy))).map(
    ({ status }) => status,
  );
  assert.equal(statuses.filter((status) => status === 201).length, 1);
  assert.equal(statuses.filter((status) => status === 200).length, 999);
});

test('a limit of 0 means no limit', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { BUYER_REQUESTS_PER_SECOND: '0' });
  const path = '/v1/sales/no-such-sale/me';
  const ask = () => hotPath.call(path, { buyer: 'ada' });
  const replies = await Promise.all(Array.from({ length: 3_000 }, ask));
  assert.ok(replies.every(({ status }) => status === 404));
});

test('an address over the rate gets 429, also without a token; health checks never do', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { ADDRESS_REQUESTS_PER_SECOND: '1' });
  const { saleId } = await openSale(shards, { phone: 10 });
  const ask = (path: string, buyer?: string) => hotPath.call(path, buyer ? { buyer } : {});
  const spend = () => ask('/v1/nowhere');
  await Promise.all(Array.from({ length: 30 }, spend));
  for (const path of [`/v1/sales/${saleId}`, `/v1/sales/${saleId}/me`, '/nowhere']) {
    await assertLimited(spend, () => ask(path, 'ada'));
  }
  await assertLimited(spend, () => refusedUpgrade(hotPath, saleId));
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    for (let i = 0; i < 5; i++) assert.equal((await ask(path)).status, 200, path);
  }
});

test('behind a trusted balancer each client has its own allowance', async (t) => {
  const environment = { ADDRESS_REQUESTS_PER_SECOND: '1', TRUSTED_PROXIES: '127.0.0.0/8' };
  const hotPath = await useHotPath(t, redis.url, environment);
  const askAs = (client: string) => {
    const headers = { 'x-forwarded-for': client };
    return hotPath.call('/nowhere', { headers });
  };
  const spend = () => askAs('203.0.113.5');
  for (let i = 0; i < 30; i++) await spend();
  await assertLimited(spend, spend);
  await assertLimited(spend, () => askAs('1.2.3.4, 203.0.113.5'));
  assert.equal((await askAs('203.0.113.6')).status, 404);
});

test('an address may keep a limited number of WebSockets, and closing one frees its slot', async (t) => {
  const environment = { LIVE_PER_ADDRESS_MAX: '2', TRUSTED_PROXIES: '127.0.0.0/8' };
  const hotPath = await useHotPath(t, redis.url, environment);
  const { saleId } = await openSale(shards, { phone: 1 });
  const headers = { 'x-forwarded-for': '203.0.113.5' };
  const open = [
    await useWatcher(t, hotPath, saleId, { headers }),
    await useWatcher(t, hotPath, saleId, { headers }),
  ];
  const refused = await refusedUpgrade(hotPath, saleId, headers);
  assert.deepEqual([refused.status, refused.code], [429, 'rate_limited']);
  const neighbour = { 'x-forwarded-for': '203.0.113.6' };
  assert.equal((await refusedUpgrade(hotPath, saleId, neighbour)).status, 101);
  await open[0]!.close();
  await eventually(async () =>
    assert.equal((await refusedUpgrade(hotPath, saleId, headers)).status, 101),
  );
});

test('the limit of a buyer also counts WebSocket upgrades', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { BUYER_REQUESTS_PER_SECOND: '1' });
  const { saleId } = await openSale(shards, { phone: 1 });
  const authorization = `Bearer ${hotPath.tokenOf('eve')}`;
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++) {
    statuses.push((await refusedUpgrade(hotPath, saleId, { authorization })).status);
  }
  assert.equal(statuses[0], 101);
  assert.ok(statuses.filter((status) => status === 429).length >= 10, statuses.join(' '));
});
