/** Each role may do what it needs: viewers read, merchants also apply transitions, operators do everything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newSale, TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';
import { createAuthenticator } from '../../src/admin/sign-in/authenticate.ts';

const admin = await useAdmin(FILE);

const READS = [
  'GET /sales',
  'GET /sales/some',
  'GET /sales/some/verify',
  'GET /sales/some/report',
  'GET /sales/some/audit',
  'GET /sales/some/recoveries',
  'GET /reservations',
  'GET /reservations/some_1_aaaaaaaa',
  'GET /reservations.csv',
  'GET /dead-letters',
];
const CHANGES = [
  'POST /sales',
  'PATCH /sales/some',
  'DELETE /sales/some',
  'POST /sales/some/stock',
  'POST /sales/some/open',
  'POST /sales/some/pause',
  'POST /sales/some/resume',
  'POST /sales/some/end',
  'POST /sales/some/recover',
  'POST /dead-letters/1/retry',
  'POST /dead-letters/1/discard',
  // Reading webhooks reveals where events are sent, so it needs an operator too.
  'GET /webhooks',
  'GET /webhooks/some/deliveries',
  'POST /webhooks',
  'POST /webhooks/some/deliveries/1/retry',
  'POST /webhooks/some/resume',
  'POST /webhooks/some/rotate-secret',
  'DELETE /webhooks/some',
  'POST /sign-in-links',
];
const TRANSITIONS = [
  'POST /reservations/some_1_aaaaaaaa/confirm',
  'POST /reservations/some_1_aaaaaaaa/cancel',
  'POST /reservations/some_1_aaaaaaaa/extend',
];

test('every request without a token gets 401', async () => {
  for (const request of [...READS, ...CHANGES, ...TRANSITIONS]) {
    const response = await admin.call(request, { as: null });
    assert.equal(response.status, 401, request);
    assert.equal(response.body.code, 'unauthorized');
    assert.match(String(response.headers['www-authenticate']), /^Bearer/);
  }
});

test('an unknown or malformed token gets 401', async () => {
  for (const authorization of [
    'Bearer',
    'Bearer ',
    `Bearer ${TOKENS.operator}x`,
    `Bearer ${TOKENS.operator.slice(0, -1)}`,
    `Basic ${TOKENS.operator}`,
    `Bearer ${TOKENS.operator} more`,
    TOKENS.operator,
  ]) {
    const response = await admin.call('GET /sales', { as: null, headers: { authorization } });
    assert.equal(response.status, 401, authorization);
  }
});

test('viewers and merchants may read and not change', async () => {
  for (const as of ['viewer', 'merchant'] as const) {
    for (const request of READS) {
      assert.notEqual((await admin.call(request, { as })).status, 403, `${as} ${request}`);
    }
    for (const request of CHANGES) {
      const response = await admin.call(request, { as });
      assert.equal(response.status, 403, `${as} ${request}`);
      assert.equal(response.body.code, 'forbidden');
    }
  }
});

test('merchants and operators may apply transitions, viewers may not', async () => {
  for (const request of TRANSITIONS) {
    const refused = await admin.call(request, { as: 'viewer' });
    assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden'], request);
    for (const as of ['merchant', 'operator'] as const) {
      assert.equal((await admin.call(request, { as })).status, 404, `${as} ${request}`);
    }
  }
});

test('the OpenAPI document, the pages and the probes need no token', async () => {
  for (const path of ['/', '/docs', '/openapi.json', '/healthz', '/readyz', '/metrics']) {
    assert.equal((await admin.call(`GET /${path}`, { as: null })).status, 200, path);
  }
});

test('tokens of any length are compared by digest, and the last of many is found', () => {
  const tokens = Array.from({ length: 20 }, (_, index) => ({
    role: 'viewer' as const,
    token: `${index}-token-${'x'.repeat(index)}`,
  }));
  const authenticate = createAuthenticator(tokens);
  for (const { token } of tokens) assert.equal(authenticate(token)?.role, 'viewer');
  assert.equal(authenticate('0-token-x'), undefined);
  assert.equal(authenticate(''), undefined);
});

test('an actor identifies its token without revealing it', async () => {
  const created = await admin.call('POST /sales', { body: newSale() });
  const audit = await admin.call(`GET /sales/${created.body.saleId}/audit`);
  assert.match(audit.body.data[0].actor, /^operator:[0-9a-f]{8}$/);
  assert.doesNotMatch(JSON.stringify(audit.body), /operator-token/);
});
