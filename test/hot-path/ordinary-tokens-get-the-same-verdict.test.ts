/** The fast path for ordinary tokens accepts nothing that the library refuses, and reads the same claims. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { createVerifier } from 'fast-jwt';
import { Random } from '../../harness/random.ts';
import { createOrdinaryVerifier } from '../../src/hot-path/admission/hs256.ts';

const SECRETS = ['s'.repeat(32), 'exactly-64'.padEnd(64, '.'), 'k'.repeat(65), 'ß€𝄞'.repeat(40)];
const HEADER = '{"alg":"HS256","typ":"JWT"}';
const nowSeconds = Math.floor(Date.now() / 1_000);
const FUTURE = nowSeconds + 3_600;
const PAST = nowSeconds - 3_600;

const expected = { issuer: 'https://shop.example', audience: 'flash-sale' };
const right = { sub: 'ada', iss: expected.issuer, aud: expected.audience };

const HEADERS = [
  HEADER,
  '{"typ":"JWT","alg":"HS256"}',
  '{"alg":"HS256"}',
  '{"alg":"HS256","typ":"JWT" }',
  '{"alg":"none"}',
  '{"alg":"HS512","typ":"JWT"}',
  '{"alg":"HS256","typ":"JWT","kid":"1"}',
  '{"alg":"HS256","crit":["exp"]}',
];
const PAYLOADS = [
  right,
  { ...right, exp: FUTURE, iat: nowSeconds, nbf: PAST },
  { ...right, exp: PAST },
  { ...right, exp: nowSeconds + 2 },
  { ...right, nbf: FUTURE },
  { ...right, exp: String(FUTURE) },
  { ...right, exp: null },
  { ...right, nbf: {} },
  { ...right, exp: 0 },
  { ...right, exp: FUTURE + 0.5 },
  { ...right, sub: 7 },
  { ...right, sub: ['ada'] },
  { ...right, sub: 'Zoë 𝄞' },
  { ...right, sub: '' },
  { ...right, aud: ['flash-sale'] },
  { ...right, aud: 'other' },
  { ...right, iss: [expected.issuer] },
  { ...right, iss: 'other' },
  { sub: 'ada' },
  { ...right, pad: 'x'.repeat(690) },
  { ...right, pad: 'x'.repeat(5_000) },
].map((claims) => JSON.stringify(claims));
const ODD_PAYLOADS = [
  'null',
  '[]',
  '"ada"',
  '7',
  '{',
  '',
  '{"sub":"ada","sub":"eve"}',
  '{"__proto__":{"sub":"ada"}}',
  '{"sub":"ada","exp":1e999}',
  '\ufeff{"sub":"ada"}',
  ' {"sub":"ada"} ',
];

for (const secret of SECRETS) {
  const bytes = Buffer.byteLength(secret);
  for (const claims of [expected, { issuer: undefined, audience: undefined }]) {
    test(`no token gets another verdict: a secret of ${bytes} bytes, issuer ${claims.issuer}`, () => {
      const ordinary = createOrdinaryVerifier(secret, claims);
      const library = libraryOf(secret, claims);
      let accepted = 0;
      for (const token of tokensOf(secret)) {
        const read = ordinary(token);
        if (!read) continue;
        accepted += 1;
        assert.deepEqual(read, library(token), token);
      }
      assert.ok(accepted > 10, `${accepted} were accepted`);
    });
  }
  test(`no mutated token is accepted: a secret of ${bytes} bytes`, () => {
    const ordinary = createOrdinaryVerifier(secret, expected);
    const library = libraryOf(secret, expected);
    const random = new Random(Number(process.env.TEST_SEED ?? 1));
    const token = signed(secret, HEADER, JSON.stringify({ ...right, exp: FUTURE }));
    assert.ok(ordinary(token));
    for (let round = 0; round < 3_000; round += 1) {
      const at = random.between(0, token.length - 1);
      const letter = String.fromCodePoint(random.between(0, random.pick([127, 0x500])));
      const mutated = random.pick([
        token.slice(0, at) + letter + token.slice(at + 1),
        token.slice(0, at) + letter + token.slice(at),
        token.slice(0, at) + token.slice(at + 1),
        token.slice(0, at),
      ]);
      if (ordinary(mutated)) assert.deepEqual(ordinary(mutated), library(mutated), mutated);
    }
  });
}

test('the tokens of a shop take the fast path', () => {
  const [secret] = SECRETS as [string];
  const ordinary = createOrdinaryVerifier(secret, { issuer: undefined, audience: undefined });
  for (const header of HEADERS.slice(0, 3)) {
    const token = signed(secret, header, `{"sub":"ada","iat":${nowSeconds},"exp":${FUTURE}}`);
    assert.equal(ordinary(token)?.sub, 'ada', header);
  }
});

function* tokensOf(secret: string): Generator<string> {
  for (const header of HEADERS) {
    for (const payload of [...PAYLOADS, ...ODD_PAYLOADS]) {
      const token = signed(secret, header, payload);
      yield token;
      yield signed(`${secret}.`, header, payload);
      const [head, body, signature] = token.split('.') as [string, string, string];
      yield `${head}.${body}.${signature}=`;
      yield `${head}.${body}.${signature}.`;
      yield `${head}.${body}..${signature}`;
      // Encodings of the same bytes that are not canonical.
      yield `${head}.${body}.${withOtherLastBits(signature)}`;
      for (const odd of [
        withOtherLastBits(body),
        `${body}=`,
        `${body}\n`,
        `${body}+`,
        `${body}.x`,
      ]) {
        yield signedParts(secret, head, odd);
      }
    }
  }
}

function signed(secret: string, header: string, payload: string): string {
  return signedParts(secret, base64url(header), base64url(payload));
}

function signedParts(secret: string, head: string, body: string): string {
  const input = `${head}.${body}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

/** The last character of most encodings has bits that no byte uses. */
function withOtherLastBits(encoded: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(encoded.at(-1) ?? 'A');
  return encoded.slice(0, -1) + alphabet[last ^ 1];
}

function libraryOf(
  secret: string,
  { issuer, audience }: { issuer: string | undefined; audience: string | undefined },
): (token: string) => unknown {
  const verify = createVerifier({
    key: secret,
    algorithms: ['HS256'],
    requiredClaims: ['sub', ...(issuer ? ['iss'] : []), ...(audience ? ['aud'] : [])],
    ...(issuer ? { allowedIss: issuer } : {}),
    ...(audience ? { allowedAud: audience } : {}),
  });
  return (token) => {
    try {
      return verify(token) as unknown;
    } catch (error) {
      return String(error);
    }
  };
}
