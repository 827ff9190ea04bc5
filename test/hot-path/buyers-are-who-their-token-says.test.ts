import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type Algorithm, createSigner } from 'fast-jwt';
import { createAuthenticate } from '../../src/hot-path/authenticate.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { connectShards, JWT_SECRET, openSale, startHotPath, tokenOf } from '../support/hot-path.ts';
import { startRedis, type TestRedis } from '../support/servers.ts';

let redis: TestRedis;
let shards: Shards;
before(async () => {
  redis = await startRedis();
  shards = await connectShards(redis.url);
});
after(async () => {
  shards?.close();
  await redis?.stop();
});

const KEYS: [algorithm: Algorithm, keys: { publicKey: string; privateKey: string }][] = [
  ['RS256', pem(generateKeyPairSync('rsa', { modulusLength: 2_048 }))],
  ['ES256', pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }))],
  ['EdDSA', pem(generateKeyPairSync('ed25519'))],
];

for (const [algorithm, { publicKey, privateKey }] of KEYS) {
  test(`a public key admits what its ${algorithm} private key signed, and nothing else`, async () => {
    const hotPath = await startHotPath(redis.url, { JWT_SECRET: '', JWT_PUBLIC_KEY: publicKey });
    try {
      const sale = await openSale(shards, { phone: 10 });
      const signed = createSigner({ key: privateKey, algorithm })({ sub: 'ada' });
      const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
      const path = `/v1/sales/${sale.saleId}/buy`;
      const won = await hotPath.call(path, { method: 'POST', ...bearer(signed) });
      assert.equal(won.status, 201);
      assert.equal(won.body.buyerId, 'ada');
      // The public key is public: it must not serve as the secret of an HMAC.
      const forged = forgeHmac(publicKey, { sub: 'eve' });
      assert.equal((await hotPath.call(path, { method: 'POST', ...bearer(forged) })).status, 401);
      assert.equal((await hotPath.call(path, { method: 'POST', buyer: 'eve' })).status, 401);
    } finally {
      await hotPath.close();
    }
  });
}

test('behind a gateway the header names the buyer, and tokens count for nothing', async () => {
  const hotPath = await startHotPath(redis.url, { BUYER_AUTH: 'header' });
  try {
    const sale = await openSale(shards, { phone: 10 });
    const won = await hotPath.buy(sale.saleId, 'by-token', {
      headers: { 'x-buyer-id': 'by-header' },
    });
    assert.equal(won.body.buyerId, 'by-header');
    assert.equal((await hotPath.buy(sale.saleId, 'by-token')).status, 401);
    const long = { headers: { 'x-buyer-id': 'x'.repeat(65) } };
    assert.equal((await hotPath.buy(sale.saleId, 'by-token', long)).status, 401);
  } finally {
    await hotPath.close();
  }
});

test('a token that was remembered is forgotten when it expires', async () => {
  const authenticate = createAuthenticate({ BUYER_AUTH: 'jwt', JWT_SECRET });
  const token = tokenOf('ada', { exp: Math.floor(Date.now() / 1_000) + 1 });
  const request = { getHeader: () => `Bearer ${token}` };
  assert.equal(authenticate(request), 'ada');
  assert.equal(authenticate(request), 'ada');
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.equal(authenticate(request), undefined);
});

/** What a library that lets the token choose the algorithm would accept. */
function forgeHmac(secret: string, claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
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
