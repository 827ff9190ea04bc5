import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import {
  type CallOptions,
  JWT_SECRET,
  tokenOf,
  useHotPath,
} from '../../harness/engine/hot-path.ts';
import { sendRaw } from '../../harness/network/raw-connection.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);
const sale = await openSale(shards, { phone: 100 });
const basketSale = await openSale(shards, { phone: 100, case: 100 }, { perBuyerLimit: 100 });

const BAD_BUYS: [
  name: string,
  options: CallOptions,
  status: number,
  code: string,
  field?: string,
][] = [
  [
    'quantity as text',
    { body: { sku: 'phone', quantity: '1' } },
    422,
    'invalid_request',
    'quantity',
  ],
  ['sku as a number', { body: { sku: 7 } }, 422, 'invalid_request', 'sku'],
  ['unknown SKU', { body: { sku: 'tablet' } }, 422, 'invalid_request', 'sku'],
  ['malformed SKU', { body: { sku: 'a b' } }, 422, 'invalid_request', 'sku'],
  ['quantity 0', { body: { sku: 'phone', quantity: 0 } }, 422, 'invalid_request', 'quantity'],
  ['quantity -1', { body: { sku: 'phone', quantity: -1 } }, 422, 'invalid_request', 'quantity'],
  ['quantity 1.5', { body: { sku: 'phone', quantity: 1.5 } }, 422, 'invalid_request', 'quantity'],
  ['quantity 10^9', { body: { sku: 'phone', quantity: 1e9 } }, 422, 'invalid_request', 'quantity'],
  ['unknown field', { body: { sku: 'phone', price: 1 } }, 422, 'invalid_request'],
  ['an array', { body: [] }, 422, 'invalid_request'],
  ['null', { body: 'null' }, 422, 'invalid_request'],
  ['a string', { body: '"phone"' }, 422, 'invalid_request'],
  ['empty basket', { body: { items: [] } }, 422, 'invalid_request', 'items'],
  [
    '11 items',
    { body: { items: Array.from({ length: 11 }, (_, i) => ({ sku: `s${i}`, quantity: 1 })) } },
    422,
    'invalid_request',
    'items',
  ],
  [
    'one SKU twice',
    {
      body: {
        items: [
          { sku: 'phone', quantity: 1 },
          { sku: 'phone', quantity: 1 },
        ],
      },
    },
    422,
    'invalid_request',
  ],
  ['invalid JSON', { body: '{"sku":' }, 422, 'invalid_request'],
  [
    'invalid UTF-8',
    { body: Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]) },
    422,
    'invalid_request',
  ],
  ['body of 5 MB', { body: Buffer.alloc(5_000_000, 0x20) }, 413, 'payload_too_large'],
  ['body of 4,097 bytes', { body: Buffer.alloc(4_097, 0x20) }, 413, 'payload_too_large'],
  ['key of 65 characters', { key: 'k'.repeat(65) }, 422, 'invalid_request', 'Idempotency-Key'],
  ['key with a space', { key: 'a b' }, 422, 'invalid_request', 'Idempotency-Key'],
];

for (const [name, options, status, code, field] of BAD_BUYS) {
  test(`buy with ${name} gets ${status} ${code} and changes nothing`, async () => {
    const held = await snapshot();
    const reply = await hotPath.buy(sale.saleId, 'ada', options);
    assert.equal(reply.status, status);
    assert.equal(reply.body.code, code);
    assert.equal(reply.body.status, status);
    assert.match(reply.headers['content-type']!, /^application\/problem\+json/);
    if (field !== undefined) {
      const fields = (reply.body.errors as { field: string }[]).map((error) => error.field);
      assert.ok(
        fields.some((each) => each.startsWith(field)),
        `${field} is not among ${fields.join(', ')}`,
      );
    }
    assert.deepEqual(await snapshot(), held);
  });
}

test('a body without a SKU is refused where the sale has several SKUs', async () => {
  const reply = await hotPath.buy(basketSale.saleId, 'ada');
  assert.equal(reply.status, 422);
  assert.equal(reply.body.errors[0].field, 'sku');
});

const sign = (claims: object, key = JWT_SECRET, algorithm: 'HS256' | 'HS512' = 'HS256') =>
  createSigner({ key, algorithm })(claims as Record<string, unknown>);
const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = Math.floor(Date.now() / 1_000);

const BAD_TOKENS: [name: string, authorization: string | undefined][] = [
  ['no token', undefined],
  ['an empty token', 'Bearer '],
  ['another scheme', `Basic ${tokenOf('ada')}`],
  ['an expired token', `Bearer ${sign({ sub: 'ada', exp: now - 60 })}`],
  ['a token not valid yet', `Bearer ${sign({ sub: 'ada', nbf: now + 600 })}`],
  ['a token signed by another secret', `Bearer ${sign({ sub: 'ada' }, 'x'.repeat(40))}`],
  ['a token of another algorithm', `Bearer ${sign({ sub: 'ada' }, JWT_SECRET, 'HS512')}`],
  ['alg: none', `Bearer ${base64url({ alg: 'none', typ: 'JWT' })}.${base64url({ sub: 'ada' })}.`],
  ['a token without sub', `Bearer ${sign({ user: 'ada' })}`],
  ['a sub of 65 characters', `Bearer ${sign({ sub: 'a'.repeat(65) })}`],
  ['a sub with a TAB', `Bearer ${sign({ sub: 'a\tb' })}`],
  ['a sub that is a number', `Bearer ${sign({ sub: 7 })}`],
  ['garbage', 'Bearer a.b.c'],
  [
    'a changed payload',
    `Bearer ${tokenOf('ada').replace(/\..*\./, `.${base64url({ sub: 'bob' })}.`)}`,
  ],
];

for (const [name, authorization] of BAD_TOKENS) {
  test(`${name} gets 401 and changes nothing`, async () => {
    const held = await snapshot();
    const headers = authorization === undefined ? {} : { authorization };
    for (const [method, path] of [
      ['POST', `/v1/sales/${sale.saleId}/buy`],
      ['GET', `/v1/sales/${sale.saleId}/me`],
      ['GET', `/v1/reservations/${sale.saleId}_1_aaaaaaaa`],
    ] as const) {
      const reply = await hotPath.call(path, { method, headers });
      assert.equal(reply.status, 401, path);
      assert.equal(reply.body.code, 'unauthorized');
      assert.equal(reply.headers['www-authenticate'], 'Bearer');
    }
    assert.deepEqual(await snapshot(), held);
  });
}

const BAD_PATHS: [method: string, path: string, status: number, code: string][] = [
  ['GET', '/nowhere', 404, 'not_found'],
  ['POST', '/v1/sales', 404, 'not_found'],
  ['GET', '/v1/sales/no-such-sale', 404, 'sale_not_found'],
  ['GET', '/v1/sales/UPPER', 404, 'sale_not_found'],
  ['GET', `/v1/sales/${'a'.repeat(41)}`, 404, 'sale_not_found'],
  ['POST', '/v1/sales/no-such-sale/buy', 404, 'sale_not_found'],
  ['POST', '/v1/sales/%7Bx%7D/buy', 404, 'sale_not_found'],
  ['GET', '/v1/sales/no-such-sale/me', 404, 'sale_not_found'],
  ['GET', '/v1/reservations/nonsense', 404, 'reservation_not_found'],
  ['GET', '/v1/reservations/no-such-sale_1_aaaaaaaa', 404, 'reservation_not_found'],
  ['GET', '/v1/sales/x/buy', 405, 'method_not_allowed'],
  ['DELETE', '/v1/sales/x', 405, 'method_not_allowed'],
  ['PUT', '/v1/sales/x/me', 405, 'method_not_allowed'],
  ['POST', '/healthz', 405, 'method_not_allowed'],
];

for (const [method, path, status, code] of BAD_PATHS) {
  test(`${method} ${path} gets ${status} ${code}`, async () => {
    const reply = await hotPath.call(path, { method, buyer: 'ada' });
    assert.equal(reply.status, status);
    assert.equal(reply.body.code, code);
    if (status === 405) assert.match(reply.headers.allow!, /^(GET, HEAD|POST), OPTIONS$/);
  });
}

test("another buyer's reservation gets the same response as one that does not exist", async () => {
  const mine = await hotPath.buy(sale.saleId, 'owner');
  assert.equal(mine.status, 201);
  const path = `/v1/reservations/${mine.body.reservationId}`;
  assert.equal((await hotPath.call(path, { buyer: 'owner' })).status, 200);
  const reply = await hotPath.call(path, { buyer: 'stranger' });
  assert.equal(reply.status, 404);
  assert.equal(reply.body.code, 'reservation_not_found');
});

test('a well-formed request id is kept, any other replaced; every response carries one', async () => {
  const given = await hotPath.buy(sale.saleId, 'eve', { headers: { 'x-request-id': 'req.1' } });
  assert.equal(given.headers['x-request-id'], 'req.1');
  const malformed = await hotPath.call('/nowhere', { headers: { 'x-request-id': 'a'.repeat(65) } });
  assert.match(malformed.headers['x-request-id']!, /^[a-z0-9]{10}-[a-z0-9]+$/);
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const traced = await hotPath.call('/healthz', { headers: { traceparent } });
  assert.equal(traced.headers.traceparent, traceparent);
});

test('a chunked body is read up to the limit, and refused beyond it', async () => {
  const token = tokenOf('chunky');
  const head = [
    `POST /v1/sales/${sale.saleId}/buy HTTP/1.1`,
    'Host: x',
    `Authorization: Bearer ${token}`,
    'Transfer-Encoding: chunked',
    '\r\n',
  ].join('\r\n');
  const { port } = hotPath.internals;
  const small = await sendRaw(port, `${head}5\r\n{"sku\r\n9\r\n":"phone"\r\n1\r\n}\r\n0\r\n\r\n`);
  assert.deepEqual(small.statuses, [201]);
  const chunk = `1000\r\n${' '.repeat(4_096)}\r\n`;
  const large = await sendRaw(port, `${head}${chunk.repeat(3)}0\r\n\r\n`);
  assert.deepEqual(large.statuses, [413]);
});

test('invented sale ids cost one Redis call each, and none later', async () => {
  const calls = async () => {
    const stats = await shards.of(sale.saleId).client.info('commandstats');
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
  };
  const earlier = await calls();
  const startedAt = performance.now();
  for (let i = 0; i < 500; i++) await hotPath.call(`/v1/sales/invented-${i}`);
  // Long enough for the timer to refresh the views several times, if it did so for invented ids.
  await sleep(1_000);
  const spent = (await calls()) - earlier;
  // One call each, and those that refresh the two real sales meanwhile, each at most every 60 ms.
  const refreshing = 2 * ((performance.now() - startedAt) / 60);
  assert.ok(spent < 600 + refreshing, `${spent} calls to Redis for 500 invented ids`);
});

/** Everything that Redis has of both sales. */
async function snapshot(): Promise<unknown> {
  const client = shards.of(sale.saleId).client;
  const keys = (await client.keys('fs:{*')).sort((a, b) => (a < b ? -1 : 1));
  return Promise.all(keys.map(async (key) => [key, await client.dump(key)]));
}
