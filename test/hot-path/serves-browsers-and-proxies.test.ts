/**
 * What browsers, caches and proxies in front of the hot path rely on: CORS, HEAD, OPTIONS, Cache-Control, and heads with
 * long cookies and tokens.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedUpgrade } from '../../harness/crowds/live-watcher.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { JWT_SECRET, tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { RawConnection } from '../../harness/network/raw-connection.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const SHOP = 'https://shop.example';
const OTHER = 'https://evil.example';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const environment = { CORS_ORIGINS: `${SHOP}, http://localhost:3000` };
const hotPath = await useHotPath(FILE, redis.url, environment);
const { saleId } = await openSale(shards, { phone: 1_000 });
const sale = `/v1/sales/${saleId}`;

type Headers = Record<string, string>;

function corsHeadersOf(headers: Headers): string[] {
  return Object.keys(headers).filter((name) => name.startsWith('access-control-'));
}

/** One request for each kind of response: created, replayed, read, and each kind of problem. */
const EXCHANGES: [status: number, send: (headers: Headers) => ReturnType<typeof hotPath.call>][] = [
  [201, (headers) => hotPath.buy(saleId, 'ada', { key: 'one', headers })],
  [200, (headers) => hotPath.buy(saleId, 'ada', { key: 'one', headers })],
  [200, (headers) => hotPath.call(sale, { headers })],
  [200, (headers) => hotPath.call(`${sale}/me`, { buyer: 'ada', headers })],
  [401, (headers) => hotPath.call(`${sale}/me`, { headers })],
  [404, (headers) => hotPath.call('/v1/sales/none', { headers })],
  [404, (headers) => hotPath.call('/nowhere', { headers })],
  [405, (headers) => hotPath.call(`${sale}/buy`, { headers })],
  [413, (headers) => hotPath.buy(saleId, 'bob', { body: 'x'.repeat(5_000), headers })],
  [422, (headers) => hotPath.buy(saleId, 'bob', { body: '{', headers })],
];

test('a page of a listed origin can read every response, errors included', async () => {
  for (const origin of [SHOP, 'http://localhost:3000']) {
    for (const [status, send] of EXCHANGES) {
      const reply = await send({ origin });
      assert.ok([status, 200].includes(reply.status), `${reply.status}, not ${status}`);
      assert.equal(reply.headers['access-control-allow-origin'], origin);
      assert.equal(reply.headers.vary, 'Origin');
      assert.equal(
        reply.headers['access-control-expose-headers'],
        'Retry-After, Idempotent-Replayed, X-Request-Id',
      );
    }
  }
});

test('a page of another origin, and a client without an origin, get no CORS header', async () => {
  const origins = [OTHER, 'null', `${SHOP}.evil.example`, 'http://shop.example', `${SHOP}:444`, ''];
  for (const origin of origins) {
    for (const [, send] of EXCHANGES) {
      const reply = await send(origin === '' ? {} : { origin });
      assert.deepEqual(corsHeadersOf(reply.headers), [], origin);
    }
    const preflight = await hotPath.call(`${sale}/buy`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
    assert.deepEqual([preflight.status, corsHeadersOf(preflight.headers)], [204, []], origin);
  }
});

test('a preflight allows the methods of the path and the headers of the API', async () => {
  const METHODS = {
    '/buy': 'POST',
    '': 'GET, HEAD',
    '/me': 'GET, HEAD',
    '/waitlist': 'POST, DELETE',
  };
  for (const [path, methods] of Object.entries(METHODS)) {
    const { status, headers, body } = await hotPath.call(sale + path, {
      method: 'OPTIONS',
      headers: {
        origin: SHOP,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,idempotency-key',
      },
    });
    assert.deepEqual([status, body], [204, '']);
    assert.equal(headers['access-control-allow-origin'], SHOP);
    assert.equal(headers['access-control-allow-methods'], methods);
    assert.equal(
      headers['access-control-allow-headers'],
      'authorization, content-type, idempotency-key, x-request-id, traceparent',
    );
    assert.ok(Number(headers['access-control-max-age']) > 0);
    assert.equal(headers.allow, `${methods}, OPTIONS`);
    assert.equal(headers['content-length'], undefined);
  }
});

test('`*` allows every origin', async (t) => {
  const open = await useHotPath(t, redis.url, { CORS_ORIGINS: '*' });
  const { headers } = await open.call(sale, { headers: { origin: OTHER } });
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.equal((await refusedUpgrade(open, saleId, { origin: OTHER })).status, 101);
});

test('a mistyped origin is reported at start', async (t) => {
  for (const text of [
    'shop.example',
    'https://shop.example/',
    'https://shop.example/cart',
    'HTTPS://SHOP.EXAMPLE',
  ]) {
    await assert.rejects(
      useHotPath(t, redis.url, { CORS_ORIGINS: text }),
      /CORS_ORIGINS: must be origins/,
      text,
    );
  }
});

test('only pages of listed origins and of the same host may open a WebSocket', async () => {
  const { host } = new URL(hotPath.url);
  for (const origin of [SHOP, `http://${host}`]) {
    assert.equal((await refusedUpgrade(hotPath, saleId, { origin })).status, 101, origin);
  }
  for (const origin of [OTHER, 'null', 'nonsense', 'http://127.0.0.1:1']) {
    const refused = await refusedUpgrade(hotPath, saleId, { origin });
    assert.deepEqual([refused.status, refused.code], [403, 'forbidden'], origin);
  }
});

test('HEAD gets the status and headers of GET without a body, and the connection stays usable', async () => {
  const head = `Host: x\r\nAuthorization: Bearer ${tokenOf('ada')}\r\n\r\n`;
  const PATHS = [
    sale,
    `${sale}/me`,
    '/v1/reservations/none',
    '/nowhere',
    '/healthz',
    `${sale}/buy`,
  ];
  for (const path of PATHS) {
    const connection = await RawConnection.open(hotPath.internals.port);
    connection.send(`HEAD ${path} HTTP/1.1\r\n${head}`);
    await connection.settle(1);
    connection.send(`GET ${path} HTTP/1.1\r\n${head}`);
    const { received } = await connection.settle(2);
    connection.destroy();
    const [toHead, toGet, ...more] = received.split('HTTP/1.1 ').slice(1).map(parseResponse);
    assert.equal(toHead!.status, toGet?.status, `${path}: ${received}`);
    assert.deepEqual(toHead!.headerNames, toGet!.headerNames, path);
    assert.deepEqual([toHead!.body, more], ['', []], path);
    if (!path.startsWith(sale)) assert.equal(toHead!.length, toGet!.length, path);
    assert.equal(toGet!.length, toGet!.body.length, path);
  }
});

function parseResponse(text: string) {
  const [head, body = ''] = text.split('\r\n\r\n');
  const [statusLine, ...lines] = head!.split('\r\n');
  return {
    status: statusLine,
    headerNames: lines.map((line) => line.split(':')[0]!.toLowerCase()).toSorted(),
    length: Number(/content-length: (\d+)/i.exec(head!)?.[1]),
    body,
  };
}

test('no cache keeps what belongs to one buyer, or a view of a sale without asking again', async () => {
  for (const [, send] of EXCHANGES) {
    const { status, headers } = await send({});
    assert.equal(headers['cache-control'], status === 404 ? 'no-cache' : headers['cache-control']);
  }
  const cacheControl = async (path: string, buyer?: string) =>
    (await hotPath.call(path, buyer ? { buyer } : {})).headers['cache-control'];
  assert.equal(await cacheControl(sale), 'no-cache');
  assert.equal(await cacheControl('/v1/sales/none'), 'no-cache');
  assert.equal(await cacheControl(`${sale}/me`, 'ada'), 'no-store');
  assert.equal(await cacheControl(`${sale}/me`), 'no-store');
  const bought = await hotPath.buy(saleId, 'cleo');
  assert.equal(bought.headers['cache-control'], 'no-store');
  assert.equal(
    await cacheControl(`/v1/reservations/${bought.body.reservationId}`, 'cleo'),
    'no-store',
  );
});

test('long cookies and tokens are served, and a longer head gets 431', async (t) => {
  const engine = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    JWT_SECRET,
    DURABILITY: 'fast',
    REQUEST_HEAD_BYTES_MAX: '12000',
  });
  await engine.untilReady();
  const statusOf = async (headers: Headers) => (await fetch(engine.url + sale, { headers })).status;
  assert.equal(await statusOf({ cookie: 'x'.repeat(5_000) }), 200);
  assert.equal(await statusOf({ cookie: 'x'.repeat(11_000) }), 200);
  assert.equal(await statusOf({ cookie: 'x'.repeat(12_000) }), 431);
  const token = tokenOf('ada', { roles: 'x'.repeat(6_000) });
  const mine = await fetch(`${engine.url}${sale}/me`, {
    headers: { authorization: `Bearer ${token}` },
  });
  assert.equal(mine.status, 200);
  const protocol = { 'sec-websocket-protocol': `flash-sale, bearer.${token}` };
  assert.equal((await refusedUpgrade(engine, saleId, protocol)).status, 101);
});
