/** The OpenAPI document is valid and describes every operation of admin and hot path. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileErrors, validate } from '@readme/openapi-parser';
import { useAdmin } from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';
import { BUYER_OPERATIONS } from '../../src/api/buyer-operations.ts';
import { PROBLEMS } from '../../src/api/problems.ts';

const admin = await useAdmin(FILE);
const { body: document } = await admin.call('GET //openapi.json', { as: null });

test('the document is valid OpenAPI', async () => {
  const result = await validate(structuredClone(document));
  assert.ok(result.valid, result.valid ? '' : compileErrors(result));
});

const ADMIN_ROUTES = [
  'delete /admin/v1/sales/{saleId}',
  'delete /admin/v1/webhooks/{webhookId}',
  'delete /session',
  'get /admin/v1/dead-letters',
  'get /admin/v1/reservations',
  'get /admin/v1/reservations.csv',
  'get /admin/v1/reservations/{reservationId}',
  'get /admin/v1/sales',
  'get /admin/v1/sales/{saleId}',
  'get /admin/v1/sales/{saleId}/audit',
  'get /admin/v1/sales/{saleId}/recoveries',
  'get /admin/v1/sales/{saleId}/report',
  'get /admin/v1/sales/{saleId}/verify',
  'get /admin/v1/webhooks',
  'get /admin/v1/webhooks/{webhookId}/deliveries',
  'get /dashboard/live',
  'get /dashboard/verification',
  'get /healthz',
  'get /metrics',
  'get /readyz',
  'get /session',
  'patch /admin/v1/sales/{saleId}',
  'post /admin/v1/buyers/{buyerId}/erase',
  'post /admin/v1/dead-letters/{deadLetterId}/discard',
  'post /admin/v1/dead-letters/{deadLetterId}/retry',
  'post /admin/v1/reservations/{reservationId}/cancel',
  'post /admin/v1/reservations/{reservationId}/confirm',
  'post /admin/v1/reservations/{reservationId}/extend',
  'post /admin/v1/sales',
  'post /admin/v1/sales/{saleId}/archive',
  'post /admin/v1/sales/{saleId}/end',
  'post /admin/v1/sales/{saleId}/open',
  'post /admin/v1/sales/{saleId}/pause',
  'post /admin/v1/sales/{saleId}/recover',
  'post /admin/v1/sales/{saleId}/resume',
  'post /admin/v1/sales/{saleId}/stock',
  'post /admin/v1/sign-in-links',
  'post /admin/v1/webhooks',
  'post /admin/v1/webhooks/{webhookId}/deliveries/{deliveryId}/retry',
  'post /admin/v1/webhooks/{webhookId}/resume',
  'post /admin/v1/webhooks/{webhookId}/rotate-secret',
  'post /session',
];

test('it describes exactly the routes of the admin', () => {
  const described = Object.entries<object>(document.paths)
    .filter(([path]) => !path.startsWith('/v1/'))
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
  assert.deepEqual(described.sort(), ADMIN_ROUTES);
  for (const route of described) {
    const [method, path] = route.split(' ');
    const url = path!.replaceAll(/\{(\w+)\}/g, ':$1');
    assert.ok(admin.app.hasRoute({ url, method: method!.toUpperCase() }), route);
  }
});

test('every operation has a unique id, a tag and a summary', () => {
  const ids = new Set<string>();
  for (const [path, methods] of Object.entries<object>(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const where = `${method} ${path}`;
      assert.ok(!ids.has(operation.operationId), where);
      ids.add(operation.operationId);
      assert.equal(operation.tags.length, 1, where);
      assert.ok(operation.summary, where);
    }
  }
  assert.ok(!ids.has(undefined as never));
});

test('it describes the operations of buyers with every error that they can return', () => {
  for (const { path, method, problems, responses: described } of BUYER_OPERATIONS) {
    const { responses } = document.paths[path][method.toLowerCase()];
    for (const code of problems) {
      const { status } = PROBLEMS[code];
      const schema = responses[status].content['application/problem+json'].schema;
      assert.ok(schema.properties.code.enum.includes(code), `${path} ${code}`);
    }
    for (const status of Object.keys(described)) assert.ok(responses[status], `${path} ${status}`);
  }
  assert.ok(document.components.schemas.Reservation);
  assert.deepEqual(Object.keys(document.components.securitySchemes).sort(), [
    'adminSession',
    'adminToken',
    'buyerHeader',
    'buyerToken',
  ]);
});

test('a request body is required where an operation needs one', () => {
  assert.equal(document.paths['/v1/sales/{saleId}/buy'].post.requestBody.required, false);
  assert.equal(document.paths['/admin/v1/sales'].post.requestBody.required, true);
  assert.equal(document.paths['/admin/v1/sales/{saleId}/open'].post.requestBody, undefined);
  assert.equal(document.paths['/admin/v1/sales/{saleId}'].delete.responses[204].content, undefined);
});

test('responses that can be repeated document their headers', () => {
  const { responses } = document.paths['/v1/sales/{saleId}/buy'].post;
  assert.ok(responses[503].headers['Retry-After']);
  assert.ok(responses[200].headers['Idempotent-Replayed']);
  assert.ok(responses[201].headers['X-Request-Id']);
});

test('the documentation page loads nothing from other hosts', async () => {
  const page = await admin.call('GET //docs', { as: null });
  assert.equal(page.status, 200);
  assert.match(String(page.headers['content-security-policy']), /default-src 'self'/);
  assert.doesNotMatch(String(page.headers['content-security-policy']), /https?:/);
  const assets = [...String(page.body).matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url!);
  assert.ok(assets.length >= 4);
  for (const asset of assets) {
    assert.match(asset, /^\/docs\//);
    assert.equal((await admin.call(`GET /${asset}`, { as: null })).status, 200, asset);
  }
  const initializer = await admin.call('GET //docs/static/swagger-initializer.js', { as: null });
  assert.match(String(initializer.body), /validatorUrl: null/);
  assert.deepEqual((await admin.call('GET //docs/json', { as: null })).body, document);
});
