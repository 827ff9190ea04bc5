/** After 100 wrong tokens in a minute, a client address does not learn whether another token is right. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { callAdmin, type TestAdmin, TOKENS, useAdmin, useApp } from '../../harness/engine/admin.ts';
import { usedMiB } from '../../harness/heap.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);

type App = TestAdmin['app'];

/** A new admin behind a load balancer that forwards the client's address. */
function freshApp(t: TestContext): Promise<App> {
  return useApp(t, admin, { trustedProxies: ['127.0.0.1'] });
}

function show(app: App, token: string, from: string) {
  const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': from };
  return callAdmin(app, 'GET /sales', { as: null, headers });
}

async function guess(app: App, count: number, from: string): Promise<number[]> {
  const statuses: number[] = [];
  for (let i = 0; i < count; i++) statuses.push((await show(app, `guess-${i}`, from)).status);
  return statuses;
}

test('after a hundred wrong tokens in a minute, an address gets 429 also for the right one', async (t) => {
  const app = await freshApp(t);
  const statuses = await guess(app, 150, '203.0.113.5');
  assert.deepEqual(new Set(statuses.slice(0, 100)), new Set([401]));
  assert.deepEqual(new Set(statuses.slice(100)), new Set([429]));

  const right = await show(app, TOKENS.operator, '203.0.113.5');
  assert.equal(right.status, 429, 'a right token gets the same response as a wrong one');
  assert.equal(right.body.code, 'rate_limited');
  const waitSeconds = Number(right.headers['retry-after']);
  assert.ok(waitSeconds >= 1 && waitSeconds <= 60, `${waitSeconds}`);
});

test('other addresses, and tokens already accepted from this one, are not affected', async (t) => {
  const app = await freshApp(t);
  assert.equal((await show(app, TOKENS.operator, '203.0.113.5')).status, 200);
  assert.equal((await guess(app, 150, '203.0.113.5')).at(-1), 429);
  assert.equal((await show(app, TOKENS.operator, '203.0.113.5')).status, 200);
  assert.equal((await show(app, TOKENS.viewer, '203.0.113.6')).status, 200);
});

test('all addresses of an IPv6 network count as one client', async (t) => {
  const app = await freshApp(t);
  for (let i = 0; i < 101; i++) await show(app, `guess-${i}`, `2001:db8::${i.toString(16)}`);
  assert.equal((await show(app, 'guess', '2001:db8::ffff')).status, 429);
  assert.equal((await show(app, 'guess', '2001:db8:0:1::1')).status, 401);
});

test('right tokens and requests without a token are not counted', async (t) => {
  const app = await freshApp(t);
  for (let i = 0; i < 150; i++) {
    assert.equal((await show(app, TOKENS.viewer, '203.0.113.5')).status, 200);
    const nobody = { as: null, headers: { 'x-forwarded-for': '203.0.113.5' } };
    assert.equal((await callAdmin(app, 'GET /sales', nobody)).status, 401);
  }
  assert.equal((await show(app, 'guess', '203.0.113.5')).status, 401);
});

test('guesses from ever more addresses need no more memory than the first few thousand', async (t) => {
  const app = await freshApp(t);
  const flood = async (count: number) => {
    for (let i = 0; i < count; i++) {
      await show(app, 'guess', `203.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`);
    }
    return usedMiB();
  };
  // The plugin counts 5,000 addresses.
  const full = await flood(5_500);
  const later = await flood(7_000);
  assert.ok(later < full + 5, `${later} MiB after ${full} MiB`);
});

test('a client that is not a trusted proxy cannot choose its address', async (t) => {
  const app = await useApp(t, admin);
  for (let i = 0; i < 101; i++) await show(app, `guess-${i}`, `203.0.113.${i}`);
  assert.equal((await show(app, 'guess', '203.0.113.200')).status, 429);
});
