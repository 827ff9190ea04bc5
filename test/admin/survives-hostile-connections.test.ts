/**
 * Whatever a client sends, the admin stays up and serves others. The hot path has a test of the same name for its side.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newSale, TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { RawConnection, sendRaw } from '../../harness/network/raw-connection.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);
await admin.app.listen({ host: '127.0.0.1', port: 0 });
const { port } = admin.app.server.address() as AddressInfo;

const AUTHORIZATION = `Authorization: Bearer ${TOKENS.operator}`;

function head(startLine: string, ...lines: string[]): string {
  return [startLine, 'Host: x', ...lines, '\r\n'].join('\r\n');
}

async function othersAreServed(): Promise<void> {
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/admin/v1/sales?limit=1`, {
    headers: { authorization: `Bearer ${TOKENS.operator}` },
  });
  assert.equal(response.status, 200);
  await response.arrayBuffer();
  const tookMs = performance.now() - startedAt;
  // Generous, because other tests run on the same machine.
  assert.ok(tookMs < 5_000, `took ${tookMs} ms`);
}

const CREATE = ['POST /admin/v1/sales HTTP/1.1', AUTHORIZATION, 'Content-Type: application/json'];
const [START_LINE, ...CREATE_LINES] = CREATE as [string, ...string[]];

test('slow requests time out after seconds, and do not delay others', async () => {
  const slow: [first: string, next: string][] = [
    ['GET / HTTP/1.1\r\nHost: x\r\n', 'X-A: b\r\n'],
    ['GET / HTTP/1.1\r\nHost: x\r\n', ''],
    [head(START_LINE, ...CREATE_LINES, 'Content-Length: 4000'), ' '],
    [`${head(START_LINE, ...CREATE_LINES, 'Content-Length: 100')}{`, ''],
    [head(START_LINE, ...CREATE_LINES, 'Transfer-Encoding: chunked'), '1\r\n \r\n'],
  ];
  const connections: RawConnection[] = [];
  for (const [first, next] of slow) {
    for (let i = 0; i < 50; i++) {
      connections.push(await RawConnection.openSlow(port, first, next));
    }
  }
  const startedAt = performance.now();
  while (connections.some(({ isClosed }) => !isClosed)) {
    assert.ok(performance.now() - startedAt < 60_000, 'some connections are still open');
    await othersAreServed();
    await sleep(200);
  }
  const statuses = new Set(connections.flatMap((connection) => connection.statuses));
  assert.deepEqual(statuses, new Set([408]));
});

const UNREADABLE: Record<string, [bytes: string | Uint8Array, status: number]> = {
  'random bytes': [Uint8Array.of(0x80, ...randomBytes(4_000)), 400],
  TLS: [Buffer.from('16030100f1010000ed0303', 'hex'), 400],
  'HTTP/9.9': ['GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n', 400],
  'an unknown method': [head('STEAL /healthz HTTP/1.1'), 400],
  'NUL in a header': [head('GET /healthz HTTP/1.1', 'X-A: b\0c'), 400],
  'a space before the colon': [head('GET /healthz HTTP/1.1', 'X-A : b'), 400],
  'a flood of headers': [head('GET /healthz HTTP/1.1', `X-A: ${'b'.repeat(100_000)}`), 431],
  'two lengths': [head('POST /x HTTP/1.1', 'Content-Length: 0', 'Content-Length: 5'), 400],
  'a length and chunks': [
    head('POST /x HTTP/1.1', 'Content-Length: 5', 'Transfer-Encoding: chunked'),
    400,
  ],
  'chunked and then identity': [
    head('POST /x HTTP/1.1', 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity'),
    400,
  ],
  'a length below zero': [head('POST /x HTTP/1.1', 'Content-Length: -1'), 400],
};
test('invalid HTTP gets a problem, and its connection is closed', async () => {
  const hidden = head('GET /healthz HTTP/1.1');
  for (const [what, [bytes, status]] of Object.entries(UNREADABLE)) {
    const connection = await sendRaw(
      port,
      Buffer.concat([Buffer.from(bytes), Buffer.from(hidden)]),
      2,
    );
    assert.deepEqual(connection.statuses, [status], `${what}: ${connection.received}`);
    assert.ok(connection.isClosed, what);
    assert.match(connection.received, /Content-Type: application\/problem\+json/, what);
    const body = JSON.parse(connection.received.split('\r\n\r\n')[1]!);
    assert.equal(body.status, status, what);
  }
  // Node responds to this one itself, without a body.
  assert.deepEqual((await sendRaw(port, 'GET /healthz HTTP/1.1\r\n\r\n')).statuses, [400]);
  await othersAreServed();
});

test('a body that is too long is rejected before it has arrived', async () => {
  for (const length of ['65537', '10000000000']) {
    const request = head(START_LINE, ...CREATE_LINES, `Content-Length: ${length}`);
    const { statuses } = await sendRaw(port, `${request}{`);
    assert.deepEqual(statuses, [413], length);
  }
  const endless = await RawConnection.open(port);
  endless.send(head(START_LINE, ...CREATE_LINES, 'Transfer-Encoding: chunked'));
  for (let i = 0; i < 50; i++) endless.send(`10000\r\n${' '.repeat(0x10000)}\r\n`);
  await endless.settle();
  assert.deepEqual(endless.statuses, [413]);
  endless.destroy();
  await othersAreServed();
});

test('the body of a request without a token is not read', async () => {
  const request = head('POST /admin/v1/sales HTTP/1.1', 'Content-Length: 60000');
  const { statuses } = await sendRaw(port, request);
  assert.deepEqual(statuses, [401]);
});

test('pipelined requests get their responses in order', async () => {
  const body = JSON.stringify(newSale());
  const create = head(START_LINE, ...CREATE_LINES, `Content-Length: ${body.length}`) + body;
  const list = head('GET /admin/v1/sales HTTP/1.1', AUTHORIZATION);
  const { statuses } = await sendRaw(port, (create + list).repeat(10), 20, 10_000);
  assert.deepEqual(
    statuses,
    Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 201 : 200)),
  );
});

const TRICKY_PATHS = [
  '/docs/../../../../etc/passwd',
  '/docs/%2e%2e/%2e%2e/package.json',
  '/docs/static/..%2f..%2f..%2fpackage.json',
  '/docs/static/%00',
  '/docs//etc/passwd',
  '/admin/v1/../../healthz',
  '//admin/v1/sales',
  '/admin/v1/sales/',
  '/ADMIN/v1/sales',
  '/admin/v1/sales/%2e%2e',
  '/admin/v1/sales/__proto__',
  `/admin/v1/sales/${'a'.repeat(5_000)}`,
  '/.env',
  '/.git/config',
];
test('no path reads a file or bypasses authentication', async () => {
  for (const path of TRICKY_PATHS) {
    const { received, statuses } = await sendRaw(port, head(`GET ${path} HTTP/1.1`));
    assert.equal(statuses.length, 1, path);
    assert.ok([302, 400, 401, 404, 422].includes(statuses[0]!), `${path}: ${statuses[0]}`);
    assert.doesNotMatch(received, /root:|"dependencies"|"data":/, path);
  }
  await othersAreServed();
});
