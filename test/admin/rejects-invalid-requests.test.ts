/** Invalid requests are rejected with a problem that names the field, and pages restrict what a browser may load. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AdminCallOptions,
  type AdminReply,
  newSale,
  useAdmin,
} from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);

function assertProblem(response: AdminReply, status: number, code: string): void {
  assert.equal(response.status, status, JSON.stringify(response.body));
  assert.match(String(response.headers['content-type']), /^application\/problem\+json/);
  assert.equal(response.body.code, code);
  assert.equal(response.body.status, status);
  assert.equal(response.body.type, `urn:flash-sale:problem:${code}`);
  assert.ok(response.headers['x-request-id']);
  assert.doesNotMatch(JSON.stringify(response.body), /\bat .*\.ts:|node_modules/);
}

const WRONG_SALES: Record<string, [body: unknown, field: string]> = {
  'an unknown field': [newSale({ colour: 'red' }), 'colour'],
  'an unknown field in a SKU': [
    newSale({ skus: [{ sku: 'a', price: 1, stock: 1, size: 3 }] }),
    'skus.0.size',
  ],
  'no name': [newSale({ name: undefined }), 'name'],
  'an empty name': [newSale({ name: '  ' }), 'name'],
  'NUL in the name': [newSale({ name: 'a\u0000b' }), 'name'],
  'half a surrogate pair': [newSale({ name: 'a\ud800b' }), 'name'],
  'NUL in the name of a SKU': [
    newSale({ skus: [{ sku: 'a', name: '\u0000', price: 1, stock: 1 }] }),
    'skus.0.name',
  ],
  'an unknown currency': [newSale({ currency: 'XYQ' }), 'currency'],
  'a currency in small letters': [newSale({ currency: 'eur' }), 'currency'],
  'an end before the start': [
    newSale({ startsAt: '2030-01-02T00:00:00Z', endsAt: '2030-01-01T00:00:00Z' }),
    'endsAt',
  ],
  'an invalid time': [newSale({ startsAt: 'tomorrow' }), 'startsAt'],
  'an invalid day': [newSale({ startsAt: '2030-02-30T00:00:00Z' }), 'startsAt'],
  'a year that PostgreSQL does not have': [
    newSale({ startsAt: '0000-01-01T00:00:00Z' }),
    'startsAt',
  ],
  'an id with capitals': [newSale({ saleId: 'Phones' }), 'saleId'],
  'no SKU': [newSale({ skus: [] }), 'skus'],
  'a SKU twice': [
    newSale({
      skus: [
        { sku: 'a', price: 1, stock: 1 },
        { sku: 'a', price: 2, stock: 1 },
      ],
    }),
    'skus.1.sku',
  ],
  'a hundred and one SKUs': [
    newSale({
      skus: Array.from({ length: 101 }, (_, index) => ({ sku: `s${index}`, price: 1, stock: 1 })),
    }),
    'skus',
  ],
  'a price below zero': [newSale({ skus: [{ sku: 'a', price: -1, stock: 1 }] }), 'skus.0.price'],
  'half a cent': [newSale({ skus: [{ sku: 'a', price: 0.5, stock: 1 }] }), 'skus.0.price'],
  'more stock than can be counted': [
    newSale({ skus: [{ sku: 'a', price: 1, stock: 1e10 }] }),
    'skus.0.stock',
  ],
  'a limit of nothing': [newSale({ perBuyerLimit: 0 }), 'perBuyerLimit'],
  'a limit of nothing for a SKU': [
    newSale({ skus: [{ sku: 'a', price: 1, stock: 1, perBuyerLimit: 0 }] }),
    'skus.0.perBuyerLimit',
  ],
  'no hold for the waitlist': [newSale({ waitlistHoldSeconds: 0 }), 'waitlistHoldSeconds'],
  'no hold': [newSale({ holdSeconds: 0 }), 'holdSeconds'],
};
for (const [what, [body, field]] of Object.entries(WRONG_SALES)) {
  test(`a sale with ${what} is rejected, naming ${field}`, async () => {
    const response = await admin.call('POST /sales', { body });
    assertProblem(response, 422, 'invalid_request');
    const fields = response.body.errors.map((error: { field: string }) => error.field);
    assert.ok(fields.includes(field), JSON.stringify(response.body.errors));
  });
}

const WRONG_BODIES: Record<string, [options: AdminCallOptions, status: number, code: string]> = {
  'JSON cut off': [{ body: '{"name":' }, 422, 'invalid_request'],
  'no JSON': [{ body: 'name=Phones' }, 422, 'invalid_request'],
  'invalid UTF-8': [
    { body: Buffer.from([...Buffer.from('{"name":"'), 0xff, 0xfe, ...Buffer.from('"}')]) },
    422,
    'invalid_request',
  ],
  'prototype pollution': [{ body: '{"__proto__":{"a":1}}' }, 422, 'invalid_request'],
  'an array': [{ body: [] }, 422, 'invalid_request'],
  nothing: [{}, 422, 'invalid_request'],
  'another content type': [
    { body: '<sale/>', headers: { 'content-type': 'application/xml' } },
    422,
    'invalid_request',
  ],
  'too much': [{ body: newSale({ name: 'x'.repeat(70_000) }) }, 413, 'payload_too_large'],
};
for (const [what, [options, status, code]] of Object.entries(WRONG_BODIES)) {
  test(`a body of ${what} is rejected`, async () => {
    assertProblem(await admin.call('POST /sales', options), status, code);
  });
}

test('the largest allowed sale fits into a body', async () => {
  const skus = Array.from({ length: 100 }, (_, index) => ({
    sku: `s${index}${'x'.repeat(30)}`,
    name: 'n'.repeat(200),
    price: 1_000_000_000,
    stock: 1_000_000_000,
  }));
  const response = await admin.call('POST /sales', { body: newSale({ skus }) });
  assert.equal(response.status, 201);
  assert.equal(response.body.skus.length, 100);
  assert.equal(response.body.skus[99].remaining, 1_000_000_000);
});

const WRONG_QUERIES = [
  'GET /sales?limit=0',
  'GET /sales?limit=501',
  'GET /sales?limit=ten',
  'GET /sales?cursor=nonsense',
  'GET /sales?colour=red',
  `GET /sales?cursor=${Buffer.from('["x","y"]').toString('base64url')}`,
  'GET /reservations?status=sold',
  'GET /reservations?saleId=%00',
  'GET /reservations?buyerId=a%00b',
  'GET /reservations?buyerId=%ff',
  'GET /reservations?from=yesterday',
  'GET /reservations?cursor=nonsense',
  'GET /reservations.csv?limit=3',
  'GET /dead-letters?resolved=maybe',
  'GET /sales/a%00b',
  'GET /reservations/%00',
  'GET /sales/%ff',
];
for (const request of WRONG_QUERIES) {
  test(`${request} is rejected`, async () => {
    assertProblem(await admin.call(request), 422, 'invalid_request');
  });
}

test('a cursor of another listing is rejected', async () => {
  const cursor = Buffer.from('["s",3]').toString('base64url');
  assertProblem(await admin.call(`GET /reservations?cursor=${cursor}`), 422, 'invalid_request');
});

test('unknown resources and paths get 404', async () => {
  for (const request of ['GET /sales/none', 'GET /sales/NOT-AN-ID', 'DELETE /sales/none']) {
    assertProblem(await admin.call(request), 404, 'sale_not_found');
  }
  for (const action of ['open', 'pause', 'resume', 'end', 'stock']) {
    const body = action === 'stock' ? { sku: 'a', delta: 1 } : undefined;
    const response = await admin.call(`POST /sales/none/${action}`, { body });
    assertProblem(response, 404, 'sale_not_found');
  }
  assertProblem(await admin.call('GET /sales/none/verify'), 404, 'sale_not_found');
  assertProblem(await admin.call('GET /sales/none/audit'), 404, 'sale_not_found');
  assertProblem(await admin.call('PATCH /sales/none', { body: {} }), 404, 'sale_not_found');
  assertProblem(await admin.call('GET /reservations/none'), 404, 'reservation_not_found');
  assertProblem(await admin.call('POST /dead-letters/9/retry'), 404, 'not_found');
  assertProblem(await admin.call('POST /dead-letters/x/retry'), 404, 'not_found');
  assertProblem(await admin.call('GET /nothing'), 404, 'not_found');
  assertProblem(await admin.call('POST //nothing', { body: 'x' }), 404, 'not_found');
});

test('a known path with another method gets 405 with the allowed methods', async () => {
  const response = await admin.call('PUT /sales/some', { body: '{' });
  assertProblem(response, 405, 'method_not_allowed');
  assert.equal(response.headers.allow, 'DELETE, GET, HEAD, PATCH');
  assertProblem(await admin.call('DELETE /reservations'), 405, 'method_not_allowed');
  assertProblem(await admin.call('POST //healthz'), 405, 'method_not_allowed');
});

test('a valid request id is kept, and an invalid one is replaced', async () => {
  const headers = {
    'x-request-id': 'order-77',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  };
  const named = await admin.call('POST /sales', { body: newSale(), headers });
  assert.equal(named.headers['x-request-id'], 'order-77');
  assert.equal(named.headers.traceparent, headers.traceparent);
  const audit = await admin.call(`GET /sales/${named.body.saleId}/audit`);
  assert.equal(audit.body.data[0].requestId, 'order-77');
  const unfit = await admin.call('GET /sales', {
    headers: { 'x-request-id': 'a b<script>', traceparent: '00-xyz' },
  });
  assert.match(String(unfit.headers['x-request-id']), /^[\w-]{21}$/);
  assert.equal(unfit.headers.traceparent, undefined);
});

test('pages have a content security policy', async () => {
  for (const path of ['/', '/docs/']) {
    const page = await admin.call(`GET /${path}`, { as: null });
    assert.match(String(page.headers['content-security-policy']), /frame-ancestors 'none'/);
    assert.equal(page.headers['x-content-type-options'], 'nosniff');
  }
});
