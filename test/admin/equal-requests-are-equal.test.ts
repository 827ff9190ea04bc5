/** Equal requests get equal responses, however a proxy frames them: bodies and their absence, header case, segments. */
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { RawConnection } from '../../harness/network/raw-connection.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
const hotPath = await useHotPath(FILE, admin.redis.url);
await admin.app.listen({ host: '127.0.0.1', port: 0 });
const { port: adminPort } = admin.app.server.address() as AddressInfo;
const { saleId } = await makeSale(admin, { stock: 1_000, perBuyerLimit: 20 });

const JSON_TYPE = 'Content-Type: application/json';
const CHUNKED = 'Transfer-Encoding: chunked';

/** Header lines and what follows them; several parts are sent one after the other. */
type Framing = [lines: string[], ...parts: string[]];

const NO_BODY: Record<string, Framing> = {
  'neither length nor type': [[]],
  'a length of 0': [['Content-Length: 0']],
  'an empty chunked body': [[CHUNKED], '0\r\n\r\n'],
  'an empty chunked body in parts': [[CHUNKED], '0\r', '\n\r\n'],
  'a length of 0 and a type': [['Content-Length: 0', JSON_TYPE]],
  'a type alone': [[JSON_TYPE]],
  'an empty chunked body and a type': [[CHUNKED, JSON_TYPE], '0\r\n\r\n'],
  'other letters': [['TRANSFER-ENCODING: Chunked', 'CONTENT-TYPE: APPLICATION/JSON'], '0\r\n\r\n'],
  "a form's type": [['Content-Length: 0', 'Content-Type: application/x-www-form-urlencoded']],
  'an empty type': [['Content-Length: 0', 'Content-Type:']],
};

function framingsOf(body: string): Record<string, Framing> {
  const length = `Content-Length: ${body.length}`;
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const bytes = body.split('');
  const chunks = bytes.map(chunk);
  return {
    'a length': [[length, JSON_TYPE], body],
    'many segments': [[length, JSON_TYPE], ...bytes],
    'a chunk': [[CHUNKED, JSON_TYPE], chunk(body), '0\r\n\r\n'],
    'many chunks': [[CHUNKED, JSON_TYPE], ...chunks, '0\r\n\r\n'],
    'a charset': [[length, `${JSON_TYPE}; charset=utf-8`], body],
    'other letters': [[length.toUpperCase(), 'CONTENT-TYPE: Application/JSON'], body],
    'a type twice': [[length, JSON_TYPE, JSON_TYPE], body],
    'a type that a proxy joined': [[length, `${JSON_TYPE}, application/json`], body],
  };
}

/** The status, and the body without what differs in repeated requests. */
async function send(port: number, head: string[], [lines, ...parts]: Framing): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.send(`${[...head, 'Host: shop', ...lines].join('\r\n')}\r\n\r\n`);
  for (const part of parts) {
    connection.send(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await connection.settle();
  connection.destroy();
  const [status] = connection.statuses;
  const body = connection.received.slice(connection.received.indexOf('\r\n\r\n') + 4);
  return `${status} ${body.replaceAll(/"\w*(?:[aA]t|Time|Ms|clock)":("[^"]*"|-?\d+|\{[^}]*\})/g, '')}`;
}

/** Sends every framing of a request, and fails unless all get the same response with this status. */
async function assertEqual(
  port: number,
  head: string[],
  framings: Record<string, Framing>,
  status: number,
): Promise<void> {
  const first = await send(port, head, Object.values(framings)[0]!);
  assert.ok(first.startsWith(`${status} `), `${head[0]}: ${first}`);
  await Promise.all(
    Object.entries(framings).map(async ([what, framing]) =>
      assert.equal(await send(port, head, framing), first, `${head[0]} with ${what}`),
    ),
  );
}

const asOperator = (path: string) => [
  `POST /admin/v1${path} HTTP/1.1`,
  `Authorization: Bearer ${TOKENS.operator}`,
];
const asBuyer = (method: string, path: string, buyer: string, ...lines: string[]) => [
  `${method} /v1${path} HTTP/1.1`,
  `authorization: Bearer ${tokenOf(buyer)}`,
  ...lines,
];

test('admin takes a missing body in every framing', async () => {
  const held = await hold(admin.shards, saleId, ['confirmed', 'cancelled', 'extended']);
  const [confirmed, cancelled, extended] = held.map(({ reservationId }) => reservationId);
  // The first request has the effect; it and every further one get the same response.
  const requests: [string, number][] = [
    [`/reservations/${extended}/extend`, 200],
    [`/reservations/${confirmed}/confirm`, 200],
    [`/reservations/${cancelled}/cancel`, 200],
    [`/sales/${saleId}/resume`, 200],
    [`/sales/none/open`, 404],
    [`/sales/none/pause`, 404],
    [`/sales/none/end`, 404],
    [`/sales/none/recover`, 404],
    ['/dead-letters/1/retry', 404],
    ['/webhooks/none/resume', 404],
    // A body is required: none is the same mistake in every framing.
    ['/sales', 422],
    [`/sales/${saleId}/stock`, 422],
  ];
  for (const [path, status] of requests) {
    await assertEqual(adminPort, asOperator(path), NO_BODY, status);
  }
  // These serve few requests concurrently.
  for (const [what, framing] of Object.entries(NO_BODY)) {
    const erased = await send(adminPort, asOperator('/buyers/nobody/erase'), framing);
    assert.match(erased, /^200 /, `erase with ${what}`);
    const archived = await send(adminPort, asOperator('/sales/none/archive'), framing);
    assert.match(archived, /^404 .*sale_not_found/, `archive with ${what}`);
  }
});

test('admin takes a body in every framing', async () => {
  const [held] = await hold(admin.shards, saleId, ['paying']);
  const confirm = asOperator(`/reservations/${held!.reservationId}/confirm`);
  await assertEqual(adminPort, confirm, framingsOf('{"paymentRef":"pay_1"}'), 200);
  await assertEqual(adminPort, confirm, framingsOf('{"paymentRef":'), 422);
  const text: Framing = [['Content-Length: 2', 'Content-Type: text/plain'], '{}'];
  assert.match(await send(adminPort, confirm, text), /^422 .*must have Content-Type/);
});

test('the hot path takes a missing body in every framing, and a body too', async () => {
  const bought = await hotPath.buy(saleId, 'ada', { key: 'k' });
  const buy = (...lines: string[]) => asBuyer('POST', `/sales/${saleId}/buy`, 'ada', ...lines);
  await assertEqual(hotPath.internals.port, buy('IDEMPOTENCY-KEY: k'), NO_BODY, 200);
  const body = framingsOf('{"sku":"unit","quantity":1}');
  await assertEqual(hotPath.internals.port, buy('Idempotency-Key: k'), body, 200);
  const cancel = asBuyer('POST', `/reservations/${bought.body.reservationId}/cancel`, 'ada');
  await assertEqual(hotPath.internals.port, cancel, NO_BODY, 200);
  const { saleId: empty } = await makeSale(admin, { stock: 1 });
  assert.equal((await hotPath.buy(empty, 'first')).status, 201);
  const waitlist = (method: string) => asBuyer(method, `/sales/${empty}/waitlist`, 'eve');
  await hotPath.call(`/v1/sales/${empty}/waitlist`, { method: 'POST', buyer: 'eve' });
  await assertEqual(hotPath.internals.port, waitlist('POST'), NO_BODY, 200);
  await assertEqual(hotPath.internals.port, waitlist('POST'), body, 200);
  await hotPath.call(`/v1/sales/${empty}/waitlist`, { method: 'DELETE', buyer: 'eve' });
  await assertEqual(hotPath.internals.port, waitlist('DELETE'), NO_BODY, 200);
});
