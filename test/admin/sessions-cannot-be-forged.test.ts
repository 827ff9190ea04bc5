/** The dashboard's session: its cookie cannot be made or used by other sites, and it ends when it should. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { pino } from 'pino';
import {
  ADMIN_TOKENS,
  type AdminCallOptions,
  type AdminReply,
  callAdmin,
  newSale,
  TOKENS,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
type App = typeof admin.app;

const logged: string[] = [];
/** An admin with other tokens: one more, none of merchants, and that of merchants as one of viewers. Behind a proxy. */
const other = await useApp(FILE, admin, {
  trustedProxies: ['127.0.0.1'],
  tokens: [
    { role: 'viewer', token: 'one-more-token-for-tests' },
    ...ADMIN_TOKENS.filter(({ role }) => role !== 'merchant'),
    { role: 'viewer', token: TOKENS.merchant },
  ],
  log: pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) }),
});

const HOUR_MS = 3_600_000;

interface SignedIn {
  cookie: string;
  csrfToken: string;
  setCookie: string;
}

function post(app: App, body: unknown, headers: Record<string, string> = {}): Promise<AdminReply> {
  return callAdmin(app, 'POST //session', { as: null, body, headers });
}

async function signIn(app: App, token: string, headers: Record<string, string> = {}) {
  const reply = await post(app, { token }, headers);
  assert.equal(reply.status, 201, JSON.stringify(reply.body));
  return { ...cookieOf(reply), csrfToken: reply.body.csrfToken as string };
}

function cookieOf({ headers }: AdminReply): { cookie: string; setCookie: string } {
  const setCookie = String(headers['set-cookie']);
  return { cookie: setCookie.split(';')[0]!, setCookie };
}

/** As the page: with the cookie, and with the CSRF token unless it is left out. */
function call(
  app: App,
  request: string,
  { cookie, csrfToken }: Partial<SignedIn>,
  { headers, ...options }: AdminCallOptions = {},
): Promise<AdminReply> {
  const own = { cookie: `theme=dark; ${cookie}; other=1` };
  const csrf: Record<string, string> = csrfToken === undefined ? {} : { 'x-csrf-token': csrfToken };
  return callAdmin(app, request, {
    as: null,
    headers: { ...own, ...csrf, ...headers },
    ...options,
  });
}

test('a token signs in with a cookie that scripts and other sites cannot use', async () => {
  const reply = await post(admin.app, { token: TOKENS.operator });
  const { role, actor, expiresAt, csrfToken } = reply.body;
  assert.deepEqual([reply.status, role], [201, 'operator']);
  assert.match(actor, /^operator:[0-9a-f]{8}$/);
  assert.match(csrfToken, /^[\w-]{43}$/);
  const leftMs = Date.parse(expiresAt) - Date.now();
  assert.ok(leftMs > 12 * HOUR_MS - 5_000 && leftMs <= 12 * HOUR_MS, `${leftMs}`);
  assert.equal(reply.headers['cache-control'], 'no-store');
  const { cookie, setCookie } = cookieOf(reply);
  assert.match(
    setCookie,
    /^flash-sale-session=[\w.-]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/,
  );
  const [, claims] = cookie.split('.');
  assert.doesNotMatch(Buffer.from(claims!, 'base64url').toString(), /token/);

  const found = await call(admin.app, 'GET //session', { cookie });
  assert.deepEqual([found.status, found.body], [200, reply.body]);
  const head = await admin.app.inject({ method: 'HEAD', url: '/session', headers: { cookie } });
  assert.deepEqual([head.statusCode, head.body], [200, '']);
});

test('the cookie is for HTTPS only if the client used it', async () => {
  const forwarded = { 'x-forwarded-proto': 'https, http' };
  assert.match((await signIn(other, TOKENS.viewer, forwarded)).setCookie, /; Secure$/);
  const origin = { origin: 'https://admin.example' };
  assert.match((await signIn(admin.app, TOKENS.viewer, origin)).setCookie, /; Secure$/);
  assert.doesNotMatch((await signIn(admin.app, TOKENS.viewer, forwarded)).setCookie, /Secure/);
});

test('a session may do what its token may do, and is named like it in the audit', async () => {
  const operator = await signIn(admin.app, TOKENS.operator);
  const created = await call(admin.app, 'POST /sales', operator, { body: newSale() });
  assert.equal(created.status, 201);
  const audit = await admin.call(`GET /sales/${created.body.saleId}/audit`);
  assert.match(audit.body.data[0].actor, /^operator:[0-9a-f]{8}$/);

  const viewer = await signIn(admin.app, TOKENS.viewer);
  assert.equal((await call(admin.app, 'GET /sales', viewer)).status, 200);
  for (const request of ['POST /sales', `POST /sales/${created.body.saleId}/open`]) {
    const refused = await call(admin.app, request, viewer, { body: newSale() });
    assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden'], request);
  }
});

test('a change that another site has forged is refused', async () => {
  const { cookie, csrfToken } = await signIn(admin.app, TOKENS.operator);
  const another = await signIn(admin.app, TOKENS.operator);
  const body = newSale({ saleId: 'forged' });
  for (const wrong of [undefined, '', 'x', `${csrfToken}x`, another.csrfToken]) {
    const session = { cookie, ...(wrong === undefined ? {} : { csrfToken: wrong }) };
    const refused = await call(admin.app, 'POST /sales', session, { body });
    assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden'], String(wrong));
    assert.match(refused.body.detail, /X-CSRF-Token/);
  }
  const crossSite = { headers: { 'sec-fetch-site': 'cross-site' } };
  for (const request of ['POST /sales', 'GET /sales', 'DELETE //session']) {
    const refused = await call(admin.app, request, { cookie, csrfToken }, crossSite);
    assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden'], request);
    assert.match(refused.body.detail, /another site/);
  }
  const signingIn = await post(admin.app, { token: TOKENS.operator }, crossSite.headers);
  assert.deepEqual([signingIn.status, signingIn.headers['set-cookie']], [403, undefined]);
  assert.equal((await admin.call('GET /sales/forged')).status, 404);
  // A form of another site can send no other type without a preflight, which admin does not answer.
  const asForm = { 'content-type': 'text/plain' };
  assert.equal((await post(admin.app, { token: TOKENS.operator }, asForm)).status, 422);
  // Within the site.
  const own = { headers: { 'sec-fetch-site': 'same-origin' }, body };
  assert.equal((await call(admin.app, 'POST /sales', { cookie, csrfToken }, own)).status, 201);
});

test('an altered cookie, or one that another key has signed, is no session', async () => {
  const { cookie } = await signIn(admin.app, TOKENS.viewer);
  const [head, claims, signature] = cookie.split('=')[1]!.split('.') as [string, string, string];
  const raised = Buffer.from(
    JSON.stringify({ alg: 'none', typ: 'JWT', kid: 'operator:00000000' }),
  ).toString('base64url');
  const foreign = await signIn(other, 'one-more-token-for-tests');
  for (const text of [
    '',
    'x',
    `${head}.${claims}.`,
    `${head}.${claims}`,
    `${head}.${claims}.${signature.slice(0, -2)}AA`,
    `${raised}.${claims}.`,
    `${head}.${Buffer.from('{"exp":9999999999}').toString('base64url')}.${signature}`,
    foreign.cookie.split('=')[1]!,
  ]) {
    const refused = await call(admin.app, 'GET /sales', { cookie: `flash-sale-session=${text}` });
    assert.deepEqual([refused.status, refused.body.code], [401, 'unauthorized'], text);
    assert.match(refused.body.detail, /session has ended/);
  }
  // Ended sessions are no guesses: a page that keeps asking does not lock its address out.
  for (let i = 0; i < 120; i++) await call(admin.app, 'GET //session', foreign);
  assert.equal((await post(admin.app, { token: TOKENS.merchant })).status, 201);
});

test('a session ends 12 hours after its last use, and 7 days after it began', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() });
  t.after(() => mock.timers.reset());
  const idle = await signIn(admin.app, TOKENS.operator);
  let used = await signIn(admin.app, TOKENS.operator, { origin: 'https://admin.example' });
  assert.equal((await call(admin.app, 'GET /sales', used)).headers['set-cookie'], undefined);
  for (let hours = 11; hours < 7 * 24; hours += 11) {
    mock.timers.tick(11 * HOUR_MS);
    const reply = await call(admin.app, 'GET //session', used);
    assert.equal(reply.status, 200, `after ${hours} hours`);
    assert.equal(reply.body.csrfToken, used.csrfToken);
    assert.match(String(reply.headers['set-cookie']), /; Secure$/);
    used = { ...used, ...cookieOf(reply) };
    const leftHours = (Date.parse(reply.body.expiresAt) - Date.now()) / HOUR_MS;
    assert.equal(Math.round(leftHours), Math.min(12, 7 * 24 - hours));
    if (hours > 12) assert.equal((await call(admin.app, 'GET /sales', idle)).status, 401);
  }
  mock.timers.tick(4 * HOUR_MS);
  assert.equal((await call(admin.app, 'GET /sales', used)).status, 401);
});

test('a session ends when its token is removed, on every admin, and other tokens do not matter', async () => {
  const viewer = await signIn(admin.app, TOKENS.viewer);
  assert.equal((await call(other, 'GET /sales', viewer)).status, 200);
  // The same token with another role is another principal.
  const merchant = await signIn(admin.app, TOKENS.merchant);
  assert.equal((await call(other, 'GET /sales', merchant)).status, 401);
});

test('after signing out, a copy of the cookie is worthless on every admin', async () => {
  const session = await signIn(admin.app, TOKENS.viewer);
  const out = await call(admin.app, 'DELETE //session', session);
  assert.deepEqual([out.status, out.body], [204, '']);
  assert.match(String(out.headers['set-cookie']), /^flash-sale-session=; Max-Age=0; Path=\//);
  for (const app of [admin.app, other]) {
    assert.equal((await call(app, 'GET //session', session)).status, 401);
  }
  assert.equal((await callAdmin(admin.app, 'DELETE //session', { as: null })).status, 204);
  const still = await signIn(admin.app, TOKENS.viewer);
  assert.equal((await call(other, 'GET //session', still)).status, 200);
});

test('wrong tokens for a session count like wrong tokens of requests', async () => {
  const from = { 'x-forwarded-for': '203.0.113.5' };
  for (let i = 0; i < 50; i++) {
    const wrong = await post(other, { token: `guess-${i}` }, from);
    assert.deepEqual([wrong.status, wrong.body.detail], [401, 'The token is wrong.']);
    assert.equal(wrong.headers['www-authenticate'], 'Bearer realm="admin"');
    const headers = { ...from, authorization: `Bearer guess-${i}` };
    assert.equal((await callAdmin(other, 'GET /sales', { as: null, headers })).status, 401);
  }
  assert.equal((await post(other, { token: 'guess' }, from)).status, 429);
  const limited = await post(other, { token: TOKENS.operator }, from);
  assert.deepEqual([limited.status, limited.body.code], [429, 'rate_limited']);
  assert.match(String(limited.headers['retry-after']), /^[1-6]?\d$/);
  assert.equal((await post(other, { code: 'guess' }, from)).status, 429);
});

test('a body that is no credentials says what it must be', async () => {
  const rule = 'must be {"token": "…"} or {"code": "…"}';
  for (const body of [undefined, {}, { token: 'a', code: 'b' }, [], { password: 'a' }]) {
    const reply = await post(admin.app, body);
    assert.equal(reply.status, 422, JSON.stringify(body));
    assert.deepEqual(reply.body.errors, [{ field: '', message: rule }], JSON.stringify(body));
  }
  const long = await post(admin.app, { token: 'x'.repeat(5_000) });
  assert.deepEqual([long.status, long.body.errors[0].field], [422, 'token']);
});

test('no log has a token, a code or a cookie', async () => {
  const session = await signIn(other, TOKENS.operator);
  await post(other, { token: 'wrong-token-in-a-body' });
  const link = await callAdmin(other, 'POST /sign-in-links');
  const [, code] = String(link.body.url).split('#/sign-in/');
  await post(other, { code });
  await post(other, { code });
  await call(other, 'POST /sales', session, { body: newSale() });
  await call(other, 'DELETE //session', session);
  const text = logged.join('');
  assert.match(text, /"route":"\/session","status":201,.*"actor":"operator:/);
  for (const secret of [
    TOKENS.operator,
    'wrong-token-in-a-body',
    code!,
    session.csrfToken,
    session.cookie.split('=')[1]!,
  ]) {
    assert.ok(!text.includes(secret), `${secret} is in the log`);
  }
});
