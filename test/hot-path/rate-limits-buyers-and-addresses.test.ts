import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedUpgrade, watch } from '../../harness/crowds/live-watcher.ts';
import { startHotPath, type TestHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);

async function withHotPath(
  environment: Record<string, string>,
  use: (hotPath: TestHotPath) => Promise<void>,
): Promise<void> {
  const hotPath = await startHotPath(redis.url, environment);
  try {
    await use(hotPath);
  } finally {
    await hotPath.close();
  }
}

test('a buyer who hammers is told to wait, the others are served, and waiting helps', async () => {
  await withHotPath({ BUYER_REQUESTS_PER_SECOND: '2' }, async (hotPath) => {
    const { saleId } = await openSale(shards, { phone: 10 });
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => hotPath.buy(saleId, 'eve', { key: 'k' })),
    );
    const limited = replies.filter(({ status }) => status === 429);
    // Ten seconds of allowance, and what a slow machine adds to it.
    assert.ok(limited.length >= 60 && limited.length <= 80, `${limited.length} were refused`);
    for (const { headers, body } of limited) {
      assert.match(headers['content-type']!, /^application\/problem\+json/);
      assert.equal(body.code, 'rate_limited');
      assert.equal(headers['retry-after'], '1');
    }
    assert.equal(replies.filter(({ status }) => status === 201).length, 1);

    // Whatever the call: it is the buyer who is limited.
    for (const path of [`/v1/sales/${saleId}/me`, `/v1/reservations/${saleId}_1_aaaaaaaa`]) {
      assert.equal((await hotPath.call(path, { buyer: 'eve' })).status, 429);
    }
    const join = { method: 'POST', buyer: 'eve' };
    assert.equal((await hotPath.call(`/v1/sales/${saleId}/waitlist`, join)).status, 429);
    assert.equal((await hotPath.buy(saleId, 'ada')).status, 201);
    assert.equal((await hotPath.call(`/v1/sales/${saleId}`)).status, 200);
    await eventually(async () =>
      assert.equal((await hotPath.buy(saleId, 'eve', { key: 'k' })).status, 200),
    );
    const { body: metrics } = await hotPath.call('/metrics');
    const counted = /^flash_sale_rate_limited_total\{by="buyer".*\} (\d+)$/m.exec(metrics)?.[1];
    assert.ok(Number(counted) >= limited.length + 3, `${counted} were counted`);
  });
});

test('by default fifty presses at once, and a thousand more, pass', async () => {
  await withHotPath({}, async (hotPath) => {
    const { saleId } = await openSale(shards, { phone: 10 });
    const press = () => hotPath.buy(saleId, 'ada', { key: 'k' });
    const statuses = (await Promise.all(Array.from({ length: 1_000 }, press))).map(
      ({ status }) => status,
    );
    assert.equal(statuses.filter((status) => status === 201).length, 1);
    assert.equal(statuses.filter((status) => status === 200).length, 999);
  });
});

test('without a limit there is none', async () => {
  await withHotPath({ BUYER_REQUESTS_PER_SECOND: '0' }, async (hotPath) => {
    const path = '/v1/sales/no-such-sale/me';
    const ask = () => hotPath.call(path, { buyer: 'ada' });
    const replies = await Promise.all(Array.from({ length: 3_000 }, ask));
    assert.ok(replies.every(({ status }) => status === 404));
  });
});

test('an address that hammers is told to wait, even without a token; probes never are', async () => {
  await withHotPath({ ADDRESS_REQUESTS_PER_SECOND: '1' }, async (hotPath) => {
    const { saleId } = await openSale(shards, { phone: 10 });
    const ask = (path: string, buyer?: string) => hotPath.call(path, buyer ? { buyer } : {});
    await Promise.all(Array.from({ length: 30 }, () => ask('/v1/nowhere')));
    for (const path of [`/v1/sales/${saleId}`, `/v1/sales/${saleId}/me`, '/nowhere']) {
      assert.equal((await ask(path, 'ada')).status, 429, path);
    }
    assert.equal((await refusedUpgrade(hotPath, saleId)).status, 429);
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      for (let i = 0; i < 5; i++) assert.equal((await ask(path)).status, 200, path);
    }
  });
});

test('behind a trusted balancer each client has an allowance of its own', async () => {
  const environment = { ADDRESS_REQUESTS_PER_SECOND: '1', TRUSTED_PROXIES: '127.0.0.0/8' };
  await withHotPath(environment, async (hotPath) => {
    const askAs = async (client: string) => {
      const headers = { 'x-forwarded-for': client };
      return (await hotPath.call('/nowhere', { headers })).status;
    };
    for (let i = 0; i < 30; i++) await askAs('203.0.113.5');
    assert.equal(await askAs('203.0.113.5'), 429);
    assert.equal(await askAs('1.2.3.4, 203.0.113.5'), 429);
    assert.equal(await askAs('203.0.113.6'), 404);
  });
});

test('one address may keep so many WebSockets open, and gets a place back when it leaves one', async () => {
  const environment = { LIVE_PER_ADDRESS_MAX: '2', TRUSTED_PROXIES: '127.0.0.0/8' };
  await withHotPath(environment, async (hotPath) => {
    const { saleId } = await openSale(shards, { phone: 1 });
    const headers = { 'x-forwarded-for': '203.0.113.5' };
    const open = [
      await watch(hotPath, saleId, { headers }),
      await watch(hotPath, saleId, { headers }),
    ];
    const refused = await refusedUpgrade(hotPath, saleId, headers);
    assert.deepEqual([refused.status, refused.code], [429, 'rate_limited']);
    const neighbour = { 'x-forwarded-for': '203.0.113.6' };
    assert.equal((await refusedUpgrade(hotPath, saleId, neighbour)).status, 101);
    await open[0]!.close();
    await eventually(async () =>
      assert.equal((await refusedUpgrade(hotPath, saleId, headers)).status, 101),
    );
    await open[1]!.close();
  });
});

test('a buyer who hammers may not open WebSockets instead', async () => {
  await withHotPath({ BUYER_REQUESTS_PER_SECOND: '1' }, async (hotPath) => {
    const { saleId } = await openSale(shards, { phone: 1 });
    const authorization = `Bearer ${hotPath.tokenOf('eve')}`;
    const statuses: number[] = [];
    for (let i = 0; i < 30; i++) {
      statuses.push((await refusedUpgrade(hotPath, saleId, { authorization })).status);
    }
    assert.equal(statuses[0], 101);
    assert.ok(statuses.filter((status) => status === 429).length >= 10, statuses.join(' '));
  });
});
