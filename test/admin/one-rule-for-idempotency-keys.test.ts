/** A header that is no key must not count as none: the same request could then take effect twice. */
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { sendRaw } from '../../harness/network/raw-connection.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const hotPath = await useHotPath(FILE, admin.redis.url);
await admin.app.listen({ host: '127.0.0.1', port: 0 });
const { port: adminPort } = admin.app.server.address() as AddressInfo;
const { saleId } = await makeSale(admin, { stock: 1_000, perBuyerLimit: 1_000 });

const KEY = '0b2f7c1e-55aa-4c3e-9a53-2a1b4d6c8e90';

type HeaderLines = readonly string[];

const KEYS: Readonly<Record<string, HeaderLines>> = {
  'a UUID': [`Idempotency-Key: ${KEY}`],
  'a name in another case': ['IDEMPOTENCY-KEY: another-case'],
  'spaces around the key': ['Idempotency-Key:   around-it\t '],
  '64 characters': [`Idempotency-Key: ${'k'.repeat(64)}`],
  'every kind of visible character': [`Idempotency-Key: !"#$%&'()*+-./:;<=>?@[\\]^_\`{|}~`],
  'a comma within the key': ['Idempotency-Key: order-7,line-2'],
};

const NO_KEYS: Readonly<Record<string, HeaderLines>> = {
  'an empty header': ['Idempotency-Key:'],
  'a blank header': ['Idempotency-Key: \t  '],
  '65 characters': [`Idempotency-Key: ${'k'.repeat(65)}`],
  'a space within the key': ['Idempotency-Key: a b'],
  'a tab within the key': ['Idempotency-Key: a\tb'],
  'a repeated header': ['Idempotency-Key: a', 'Idempotency-Key: b'],
  'a repeated header with the same key': ['Idempotency-Key: a', 'Idempotency-Key: a'],
  'an empty header before a key': ['Idempotency-Key:', 'Idempotency-Key: a'],
  'an empty header after a key': ['Idempotency-Key: a', 'Idempotency-Key:'],
  'a repeated header that a proxy joined': ['Idempotency-Key: a, b'],
  'a repeated header with the same key that a proxy joined': ['Idempotency-Key: a,a'],
  'letters of UTF-8': [`Idempotency-Key: ${Buffer.from('schlüssel').toString('latin1')}`],
  'letters of Latin-1': ['Idempotency-Key: schl\xfcssel'],
};

interface Api {
  send: (lines: HeaderLines, subject: string) => Promise<{ status: number; text: string }>;
  /** The number of requests that took effect. */
  effects: () => Promise<number>;
}

async function post(port: number, path: string, lines: HeaderLines, body = '') {
  const head = [`POST ${path} HTTP/1.1`, 'Host: shop', `Content-Length: ${body.length}`, ...lines];
  const { received, statuses } = await sendRaw(port, `${head.join('\r\n')}\r\n\r\n${body}`);
  return { status: statuses[0]!, text: received };
}

async function countsOf() {
  const { body } = await admin.call(`GET /sales/${saleId}`);
  return body.skus[0] as { loaded: number; held: number };
}

const APIS: Readonly<Record<string, Api>> = {
  'the hot path': {
    send: (lines, buyer) =>
      post(hotPath.internals.port, `/v1/sales/${saleId}/buy`, [
        ...lines,
        `Authorization: Bearer ${tokenOf(buyer)}`,
      ]),
    effects: async () => (await countsOf()).held,
  },
  admin: {
    send: (lines) =>
      post(
        adminPort,
        `/admin/v1/sales/${saleId}/stock`,
        [...lines, 'Content-Type: application/json', `Authorization: Bearer ${TOKENS.operator}`],
        '{"sku":"unit","delta":1}',
      ),
    effects: async () => (await countsOf()).loaded,
  },
};

for (const [name, { send, effects }] of Object.entries(APIS)) {
  test(`${name} takes what is a key, and a repeated request takes effect once`, async () => {
    const before = await effects();
    await Promise.all(
      Object.entries(KEYS).map(async ([what, lines], index) => {
        const first = await send(lines, `buyer-${index}`);
        const again = await send(lines, `buyer-${index}`);
        assert.ok(first.status < 300, `${what}: ${first.text}`);
        assert.match(again.text, /\r\nidempotent-replayed: true\r\n/i, what);
      }),
    );
    assert.equal(await effects(), before + Object.keys(KEYS).length);
  });

  test(`${name} rejects a header that is no key, and the request takes no effect`, async () => {
    const before = await effects();
    await Promise.all(
      Object.entries(NO_KEYS).map(async ([what, lines]) => {
        const { status, text } = await send(lines, 'ada');
        assert.equal(status, 422, `${what}: ${text}`);
        const { code, errors } = JSON.parse(text.slice(text.indexOf('\r\n\r\n{')));
        assert.equal(code, 'invalid_request', what);
        const message = 'must be sent once, as 1 to 64 visible ASCII characters';
        assert.deepEqual(errors, [{ field: 'Idempotency-Key', message }], what);
      }),
    );
    assert.equal(await effects(), before);
  });
}
