import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { type Algorithm, createSigner } from 'fast-jwt';
import { JWT_SECRET, tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { usedMiB } from '../../harness/heap.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';
import { createAuthenticate } from '../../src/hot-path/admission/authenticate.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);

const SECRET = { BUYER_AUTH: 'jwt', JWT_SECRET, JWT_LEEWAY_SECONDS: 0 } as const;

type Key = [algorithm: Algorithm, keys: { publicKey: string; privateKey: string }];
const KEYS: Key[] = [
  ['RS256', pem(generateKeyPairSync('rsa', { modulusLength: 2_048 }))],
  ['ES256', pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }))],
  ['EdDSA', pem(generateKeyPairSync('ed25519'))],
];

for (const [algorithm, { publicKey, privateKey }] of KEYS) {
  test(`a public key accepts only tokens signed by its ${algorithm} private key`, async (t) => {
    const hotPath = await useHotPath(t, redis.url, { JWT_SECRET: '', JWT_PUBLIC_KEY: publicKey });
    const sale = await openSale(shards, { phone: 10 });
    const signed = createSigner({ key: privateKey, algorithm })({ sub: 'ada' });
    const path = `/v1/sales/${sale.saleId}/buy`;
    const won = await hotPath.call(path, { method: 'POST', ...bearer(signed) });
    assert.equal(won.status, 201);
    assert.equal(won.body.buyerId, 'ada');
    // The public key is public: it must not serve as the secret of an HMAC.
    const forged = forgeHmac(publicKey, { sub: 'eve' });
    assert.equal((await hotPath.call(path, { method: 'POST', ...bearer(forged) })).status, 401);
    assert.equal((await hotPath.call(path, { method: 'POST', buyer: 'eve' })).status, 401);
  });
}

test('behind a gateway the header identifies the buyer, and tokens are ignored', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { BUYER_AUTH: 'header' });
  const sale = await openSale(shards, { phone: 10 });
  const won = await hotPath.buy(sale.saleId, 'by-token', {
    headers: { 'x-buyer-id': 'by-header' },
  });
  assert.equal(won.body.buyerId, 'by-header');
  assert.equal((await hotPath.buy(sale.saleId, 'by-token')).status, 401);
  const long = { headers: { 'x-buyer-id': 'x'.repeat(65) } };
  assert.equal((await hotPath.buy(sale.saleId, 'by-token', long)).status, 401);
});

test('a cached token is not accepted after it expires', async () => {
  const authenticate = createAuthenticate(SECRET);
  const token = tokenOf('ada', { exp: Math.floor(Date.now() / 1_000) + 2 });
  const request = { authorization: `Bearer ${token}`, buyerId: '' };
  assert.equal(nameOf(authenticate(request)), 'ada');
  assert.equal(nameOf(authenticate(request)), 'ada');
  await eventually(() => assert.equal(authenticate(request), 'expired'));
});

test("the buyers' API refuses a cached token that has expired", async (t) => {
  const hotPath = await useHotPath(t, redis.url, { JWT_LEEWAY_SECONDS: '0' });
  const token = tokenOf('ada', { exp: Math.floor(Date.now() / 1_000) + 5 });
  const ask = async () => (await hotPath.call('/v1/sales/none/me', bearer(token))).status;
  assert.equal(await ask(), 404);
  await eventually(async () => assert.equal(await ask(), 401), { timeoutMs: 20_000 });
});

test('a token that is not valid yet is not cached', async () => {
  const authenticate = createAuthenticate(SECRET);
  const token = tokenOf('ada', { nbf: Math.floor(Date.now() / 1_000) + 2 });
  const request = { authorization: `Bearer ${token}`, buyerId: '' };
  assert.equal(authenticate(request), 'not_yet_valid');
  await eventually(() => assert.equal(nameOf(authenticate(request)), 'ada'));
});

test('clocks may differ by the leeway, and a rejected token is told why', async (t) => {
  const hotPath = await useHotPath(t, redis.url, { JWT_LEEWAY_SECONDS: '30' });
  const nowSeconds = Math.floor(Date.now() / 1_000);
  const ask = (token: string) => hotPath.call('/v1/sales/none/me', bearer(token));
  for (const claims of [{ exp: nowSeconds - 10 }, { nbf: nowSeconds + 10 }]) {
    assert.equal((await ask(tokenOf('ada', claims))).status, 404, JSON.stringify(claims));
  }
  const details = new Map([
    [tokenOf('ada', { exp: nowSeconds - 60 }), 'The token has expired.'],
    [tokenOf('ada', { nbf: nowSeconds + 60 }), 'The token is not valid yet.'],
    ['nonsense', 'Send a valid token in the Authorization header.'],
    // Nobody learns anything about a forged token.
    [
      forgeHmac('x'.repeat(40), { sub: 'eve', exp: 1 }),
      'Send a valid token in the Authorization header.',
    ],
  ]);
  for (const [token, detail] of details) {
    const { status, body, headers } = await ask(token);
    assert.deepEqual([status, body.code, body.detail], [401, 'unauthorized', detail]);
    assert.equal(headers['www-authenticate'], 'Bearer');
  }
});

test('during a rotation both secrets are accepted, afterwards only the new one', () => {
  const [older, newer] = ['older'.repeat(8), 'newer'.repeat(8)];
  const signedBy = (key: string) => createSigner({ key, algorithm: 'HS256' })({ sub: 'ada' });
  const during = { BUYER_AUTH: 'jwt', JWT_SECRET: newer, JWT_SECRET_PREVIOUS: older } as const;
  assert.equal(buyerOf(during, signedBy(older)), 'ada');
  assert.equal(buyerOf(during, signedBy(newer)), 'ada');
  assert.equal(buyerOf(during, signedBy('other'.repeat(8))), undefined);
  assert.equal(buyerOf({ BUYER_AUTH: 'jwt', JWT_SECRET: newer }, signedBy(older)), undefined);
});

test('public keys rotate in the same way, also to another algorithm', () => {
  const [[, rsa], [, ec], [, ed]] = KEYS as [Key, Key, Key];
  const signed = (key: string, algorithm: Algorithm) =>
    createSigner({ key, algorithm })({ sub: 'ada' });
  const config = {
    BUYER_AUTH: 'jwt',
    JWT_PUBLIC_KEY: ed.publicKey,
    JWT_PUBLIC_KEY_PREVIOUS: rsa.publicKey,
  } as const;
  assert.equal(buyerOf(config, signed(ed.privateKey, 'EdDSA')), 'ada');
  assert.equal(buyerOf(config, signed(rsa.privateKey, 'RS256')), 'ada');
  assert.equal(buyerOf(config, signed(ec.privateKey, 'ES256')), undefined);
  for (const key of [ed.publicKey, rsa.publicKey]) {
    assert.equal(buyerOf(config, forgeHmac(key, { sub: 'eve' })), undefined);
  }
});

test('with a required issuer and audience, a token with others or none is refused', () => {
  const config = {
    BUYER_AUTH: 'jwt',
    JWT_SECRET,
    JWT_ISSUER: 'https://shop.example',
    JWT_AUDIENCE: 'flash-sale',
  } as const;
  const right = { iss: 'https://shop.example', aud: 'flash-sale' };
  assert.equal(buyerOf(config, tokenOf('ada', right)), 'ada');
  assert.equal(buyerOf(config, tokenOf('ada', { ...right, aud: ['shop', 'flash-sale'] })), 'ada');
  for (const wrong of [
    {},
    { iss: right.iss },
    { aud: right.aud },
    { ...right, iss: 'https://shop.example.evil' },
    { ...right, iss: 'xhttps://shop.example' },
    { ...right, aud: 'flash-sale-2' },
    { ...right, aud: [] },
    { ...right, aud: {} },
    { ...right, iss: [right.iss] },
  ]) {
    assert.equal(buyerOf(config, tokenOf('ada', wrong)), undefined, JSON.stringify(wrong));
  }
});

test('the header of a token does not change how it is verified', () => {
  const config = { BUYER_AUTH: 'jwt', JWT_SECRET } as const;
  const claims = { sub: 'eve', exp: Math.floor(Date.now() / 1_000) + 600 };
  for (const head of [
    { kid: '../../../../dev/null' },
    { kid: "' UNION SELECT 'x" },
    { jku: 'http://evil.example/keys.json', x5u: 'http://evil.example/cert.pem' },
    { jwk: { kty: 'oct', k: Buffer.from('x'.repeat(40)).toString('base64url') } },
  ]) {
    assert.equal(buyerOf(config, forgeHmac('', claims, head)), undefined, JSON.stringify(head));
    assert.equal(buyerOf(config, forgeHmac('x'.repeat(40), claims, head)), undefined);
    // Signed with our own key, it is valid despite its other header fields.
    assert.equal(buyerOf(config, forgeHmac(JWT_SECRET, claims, head)), 'eve');
  }
  for (const head of [
    { alg: 'none' },
    { alg: 'None' },
    { alg: 'hs256' },
    { alg: ['HS256'] },
    { alg: null },
    { crit: ['b64'], b64: false },
    { crit: ['exp'] },
  ]) {
    assert.equal(
      buyerOf(config, forgeHmac(JWT_SECRET, claims, head)),
      undefined,
      JSON.stringify(head),
    );
  }
});

const MALFORMED: Record<string, string> = {
  'no parts': 'abc',
  'empty parts': '..',
  'four parts': 'a.b.c.d',
  'a header that is not JSON': `${base64url('{')}.${base64url('{}')}.x`,
  'a body that is not JSON': signedText('{"alg":"HS256"}', 'nonsense'),
  'a body that is an array': signedText('{"alg":"HS256"}', '["sub"]'),
  'a body that is null': signedText('{"alg":"HS256"}', 'null'),
  'a body nested deeply': signedText('{"alg":"HS256"}', '['.repeat(1_000)),
  'exp as text': signedText('{"alg":"HS256"}', '{"sub":"eve","exp":"9999999999"}'),
  'exp as an object': signedText('{"alg":"HS256"}', '{"sub":"eve","exp":{}}'),
  'nbf as text': signedText('{"alg":"HS256"}', '{"sub":"eve","nbf":"0"}'),
  'sub from a prototype': signedText('{"alg":"HS256"}', '{"__proto__":{"sub":"eve"}}'),
  'sub as a list': signedText('{"alg":"HS256"}', '{"sub":["eve"]}'),
  'base64 with a newline': `${tokenOf('eve').slice(0, 30)}\n${tokenOf('eve').slice(30)}`,
  'a signature cut off': tokenOf('eve').slice(0, -1),
  'no signature': tokenOf('eve').replace(/[^.]+$/, ''),
};
for (const [what, token] of Object.entries(MALFORMED)) {
  test(`a token with ${what} is refused`, () => {
    assert.equal(buyerOf({ BUYER_AUTH: 'jwt', JWT_SECRET }, token), undefined);
  });
}

test('memory does not grow beyond the capacity of the token cache', async () => {
  const authenticate = createAuthenticate(SECRET);
  const authenticateMany = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const token = tokenOf(`buyer-${i}`, { pad: 'x'.repeat(1_500), nonce: Math.random() });
      const request = { authorization: `Bearer ${token}`, buyerId: '' };
      // The cache keeps a token from its second sight on.
      for (let sight = 0; sight < 2; sight++) {
        assert.equal(nameOf(authenticate(request)), `buyer-${i}`);
      }
    }
    return usedMiB();
  };
  // A generation of the cache is full after 16,000 tokens of 2 KB, by its bound in bytes.
  const full = await authenticateMany(18_000);
  const later = await authenticateMany(18_000);
  assert.ok(later < full + 16, `${later} MiB after ${full} MiB`);
});

test('tokens that are seen once leave nothing behind', async () => {
  const authenticate = createAuthenticate(SECRET);
  const atFirst = await usedMiB();
  for (let i = 0; i < 50_000; i++) {
    const authorization = `Bearer ${tokenOf(`buyer-${i}`)}`;
    assert.equal(nameOf(authenticate({ authorization, buyerId: '' })), `buyer-${i}`);
  }
  const grown = (await usedMiB()) - atFirst;
  assert.ok(grown < 8, `${grown} MiB more`);
});

test('invalid tokens are not cached', async () => {
  const authenticate = createAuthenticate(SECRET);
  const atFirst = await usedMiB();
  for (let i = 0; i < 50_000; i++) {
    const token = `${tokenOf('eve', { pad: i }).slice(0, -6)}AAAAAA`;
    assert.equal(authenticate({ authorization: `Bearer ${token}`, buyerId: '' }), 'invalid');
  }
  const grown = (await usedMiB()) - atFirst;
  assert.ok(grown < 8, `${grown} MiB more`);
});

type AuthenticateConfig = Parameters<typeof createAuthenticate>[0];

/** Undefined: rejected. */
function buyerOf(
  config: Omit<AuthenticateConfig, 'JWT_LEEWAY_SECONDS'>,
  token: string,
): string | undefined {
  const authenticate = createAuthenticate({ JWT_LEEWAY_SECONDS: 0, ...config });
  return nameOf(authenticate({ authorization: `Bearer ${token}`, buyerId: '' }));
}

function nameOf(result: ReturnType<ReturnType<typeof createAuthenticate>>): string | undefined {
  return typeof result === 'string' ? undefined : result.name;
}

function bearer(token: string) {
  return { headers: { authorization: `Bearer ${token}` } };
}

/** A token that a library accepts if it lets the token choose its algorithm or key. */
function forgeHmac(secret: string, claims: object, head: object = {}): string {
  const header = JSON.stringify({ alg: 'HS256', typ: 'JWT', ...head });
  return signedText(header, JSON.stringify(claims), secret);
}

function signedText(header: string, payload: string, secret = JWT_SECRET): string {
  const signed = `${base64url(header)}.${base64url(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function pem(pair: { publicKey: KeyObject; privateKey: KeyObject }): {
  publicKey: string;
  privateKey: string;
} {
  return {
    publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    privateKey: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
