/** A sign-in link opens the dashboard once and for five minutes, and only while Redis has it. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import {
  type AdminReply,
  callAdmin,
  TOKENS,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { eventually } from '../../harness/eventually.ts';
import { withRedis } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
type App = typeof admin.app;
/** Another one, behind a proxy. */
const second = await useApp(FILE, admin, { trustedProxies: ['127.0.0.1'] });

async function createCode(): Promise<string> {
  const reply = await callAdmin(admin.app, 'POST /sign-in-links', {
    headers: { host: 'localhost:8081' },
  });
  assert.equal(reply.status, 201, JSON.stringify(reply.body));
  const [, code] = /^http:\/\/localhost:8081\/#\/sign-in\/([\w-]{43})$/.exec(reply.body.url)!;
  return code!;
}

function signIn(code: string, app: App = admin.app, headers = {}): Promise<AdminReply> {
  return callAdmin(app, 'POST //session', { as: null, body: { code }, headers });
}

function assertRefused(reply: AdminReply): void {
  assert.deepEqual([reply.status, reply.body.code], [401, 'unauthorized']);
  assert.match(reply.body.detail, /used or has expired/);
}

test('a code signs in once, on any admin, with the role of the token that made it', async () => {
  const code = await createCode();
  const replies = await Promise.all([signIn(code), signIn(code, second), signIn(code)]);
  const [signedIn, ...refused] = replies.sort((a, b) => a.status - b.status);
  assert.deepEqual([signedIn.status, signedIn.body.role], [201, 'operator']);
  for (const reply of refused) assertRefused(reply);
  const [cookie] = String(signedIn.headers['set-cookie']).split(';');
  const sales = await callAdmin(second, 'GET /sales', { as: null, headers: { cookie: cookie! } });
  assert.equal(sales.status, 200);
});

test('a code works for five minutes', async (t) => {
  const startedAt = Date.now();
  const codes = await Promise.all([createCode(), createCode()]);
  await withRedis(admin.redis.url, async (redis) => {
    const keys = await redis.keys('fs:sign-in:*');
    assert.equal(keys.length, 2);
    for (const key of keys) {
      const leftMs = await redis.pttl(key);
      assert.ok(leftMs > 290_000 && leftMs <= 300_000, `${leftMs}`);
      assert.ok(!codes.some((code) => key.includes(code)), 'Redis has the code itself');
    }
  });
  mock.timers.enable({ apis: ['Date'], now: startedAt + 298_000 });
  t.after(() => mock.timers.reset());
  assert.equal((await signIn(codes[0])).status, 201);
  // Also if Redis still has it.
  mock.timers.tick(20_000);
  assertRefused(await signIn(codes[1]));
});

test('a text that somebody has written to Redis is no code', async () => {
  const [code, other] = [await createCode(), await createCode()];
  await withRedis(admin.redis.url, async (redis) => {
    const [keyOfOne, keyOfOther] = await redis.keys('fs:sign-in:*');
    await redis.copy(keyOfOne!, keyOfOther!, 'REPLACE');
    const replies = await Promise.all([signIn(code), signIn(other)]);
    const statuses = new Set(replies.map(({ status }) => status));
    assert.deepEqual(statuses, new Set([201, 401]));
  });
});

test('only an operator makes links, by the token itself', async () => {
  for (const as of ['viewer', 'merchant'] as const) {
    assert.equal((await admin.call('POST /sign-in-links', { as })).status, 403, as);
  }
  const signedIn = await callAdmin(admin.app, 'POST //session', {
    as: null,
    body: { token: TOKENS.operator },
  });
  const [cookie] = String(signedIn.headers['set-cookie']).split(';');
  const headers = { cookie: cookie!, 'x-csrf-token': signedIn.body.csrfToken };
  const refused = await admin.call('POST /sign-in-links', { as: null, headers });
  assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden']);
  assert.match(refused.body.detail, /token in the Authorization header/);
  const host = { headers: { host: 'a b/<script>' } };
  assert.equal((await admin.call('POST /sign-in-links', host)).status, 422);
});

test('wrong codes count as wrong tokens, and do not use up a right one', async () => {
  const code = await createCode();
  const from = { 'x-forwarded-for': '203.0.113.5' };
  for (let i = 0; i < 100; i++) assertRefused(await signIn(`guess-${i}`, second, from));
  assert.equal((await signIn('guess', second, from)).status, 429);
  assert.equal((await signIn(code, second, from)).status, 429);
  assert.equal((await signIn(code)).status, 201);
});

test('without Redis there are no links, and a token still signs in', async () => {
  const code = await createCode();
  const { headers: signedInBefore } = await signIn(await createCode());
  const [before] = String(signedInBefore['set-cookie']).split(';');
  admin.redis.pause();
  const askedAt = performance.now();
  const session = await callAdmin(admin.app, 'GET //session', {
    as: null,
    headers: { cookie: before! },
  });
  const tookMs = performance.now() - askedAt;
  assert.ok(session.status === 200 && tookMs < 6_000, `${session.status} after ${tookMs} ms`);
  admin.redis.resume();

  await admin.redis.kill();
  for (const reply of [await admin.call('POST /sign-in-links'), await signIn(code)]) {
    assert.deepEqual([reply.status, reply.body.code], [503, 'unavailable']);
    assert.ok(reply.headers['retry-after']);
  }
  const body = { token: TOKENS.viewer };
  const signedIn = await callAdmin(admin.app, 'POST //session', { as: null, body });
  assert.equal(signedIn.status, 201);
  const [cookie] = String(signedIn.headers['set-cookie']).split(';');
  const headers = { cookie: cookie! };
  const out = () => callAdmin(admin.app, 'DELETE //session', { as: null, headers });
  const found = () => callAdmin(admin.app, 'GET //session', { as: null, headers });
  assert.equal((await found()).status, 200);
  assert.equal((await out()).status, 204);
  assert.equal((await found()).status, 401, 'this admin knows what it has signed out');

  await admin.redis.start();
  await eventually(async () => assert.equal((await signIn(code)).status, 201));
  await eventually(async () => {
    const elsewhere = await callAdmin(second, 'GET //session', { as: null, headers });
    assert.equal(elsewhere.status, 401, 'the other admin learns it when Redis is back');
  });
});
