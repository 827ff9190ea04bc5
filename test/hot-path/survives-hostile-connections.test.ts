/** Hostile bytes on a connection: the process stays up, other buyers are served, and no request is smuggled in. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { RawConnection, sendRaw } from '../../harness/network/raw-connection.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);
const sale = await openSale(shards, { phone: 100_000 });
const { port } = hotPath.internals;

/** Generous for a busy machine. A connection that blocked others would do so for longer. */
const SERVED_MS_MAX = 5_000;

let buyers = 0;

/** Another buyer is served without delay. */
async function othersAreServed(): Promise<void> {
  const startedAt = performance.now();
  const reply = await hotPath.buy(sale.saleId, `other-${++buyers}`);
  assert.equal(reply.status, 201);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs < SERVED_MS_MAX, `took ${tookMs} ms`);
}

function head(startLine: string, ...lines: string[]): string {
  return [startLine, 'Host: x', ...lines, '\r\n'].join('\r\n');
}

function buyHead(...lines: string[]): string {
  const authorization = `Authorization: Bearer ${tokenOf(`hostile-${++buyers}`)}`;
  return head(`POST /v1/sales/${sale.saleId}/buy HTTP/1.1`, authorization, ...lines);
}

/** The only request here that gets 200. A response to it means that it was smuggled in. */
const HIDDEN = head('GET /healthz HTTP/1.1');

const SLOW: Record<string, { first: () => string; next: string }> = {
  'a head, a line at a time': { first: () => 'GET / HTTP/1.1\r\nHost: x\r\n', next: 'X-A: b\r\n' },
  'a head that stops': { first: () => 'GET / HTTP/1.1\r\nHost: x\r\n', next: '' },
  'a body, a byte at a time': { first: () => buyHead('Content-Length: 4000'), next: ' ' },
  'a body that stops': { first: () => `${buyHead('Content-Length: 100')}{`, next: '' },
  'a body in chunks of one byte': {
    first: () => buyHead('Transfer-Encoding: chunked'),
    next: '1\r\n \r\n',
  },
  nothing: { first: () => '', next: '' },
};

test('slow senders are disconnected after seconds, and delay no other buyer', async () => {
  const pending = () => hotPath.metric('flash_sale_pending_requests');
  const connections: RawConnection[] = [];
  for (const { first, next } of Object.values(SLOW)) {
    for (let i = 0; i < 100; i++) {
      connections.push(await RawConnection.openSlow(port, first(), next));
    }
  }
  const startedAt = performance.now();
  while (connections.some(({ isClosed }) => !isClosed)) {
    assert.ok(performance.now() - startedAt < 60_000, 'some are still connected');
    await othersAreServed();
    await sleep(200);
  }
  await eventually(async () => assert.equal(await pending(), 1, 'only the metrics request itself'));
  const statuses = new Set(connections.flatMap((connection) => connection.statuses));
  for (const status of statuses) assert.ok([413, 503].includes(status), `${status}`);
});

test('clients that do not read their responses delay no other buyer', async () => {
  const requests = head(`GET /v1/sales/${sale.saleId} HTTP/1.1`).repeat(50);
  const connections = await Promise.all(Array.from({ length: 50 }, () => RawConnection.open(port)));
  for (let round = 0; round < 20; round++) {
    for (const connection of connections) {
      connection.pause();
      connection.send(requests);
    }
    await othersAreServed();
  }
  for (const connection of connections) connection.destroy();
  await othersAreServed();
});

test('a flood of headers is refused with 431', async () => {
  for (const flood of [
    `X-A: ${'b'.repeat(17_000)}`,
    ...[100, 1_000].map((count) => Array(count).fill('a: b').join('\r\n')),
    `Authorization: Bearer ${'e'.repeat(100_000)}`,
    `Cookie: ${'c=d; '.repeat(10_000)}`,
  ]) {
    const { statuses, isClosed } = await sendRaw(port, head('GET /healthz HTTP/1.1', flood));
    assert.deepEqual([statuses, isClosed], [[431], true], flood.slice(0, 30));
  }
  await othersAreServed();
});

test('a body that is too long gets 413 before it has arrived, with a length or in chunks', async () => {
  for (const length of ['4097', '10000000000', '9007199254740993']) {
    const { statuses } = await sendRaw(port, `${buyHead(`Content-Length: ${length}`)}{`);
    assert.deepEqual(statuses, [413], length);
  }
  const endless = await RawConnection.open(port);
  endless.send(buyHead('Transfer-Encoding: chunked'));
  for (let i = 0; i < 200; i++) {
    endless.send(`10000\r\n${' '.repeat(0x10000)}\r\n`);
    if (i % 50 === 0) await othersAreServed();
  }
  await endless.settle();
  assert.deepEqual(endless.statuses, [413]);
  endless.destroy();
});

/** Heads that a proxy and this server could read differently. The hidden request must never get a response. */
const AMBIGUOUS: Record<string, string> = {
  'two lengths': 'Content-Length: 0\r\nContent-Length: 33',
  'two equal lengths': 'Content-Length: 33\r\nContent-Length: 33',
  'an empty length': 'Content-Length:',
  'a length with a sign': 'Content-Length: +0',
  'a length below zero': 'Content-Length: -1',
  'a length in hex': 'Content-Length: 0x0',
  'a length that is two': 'Content-Length: 0, 33',
  'a length and a space': 'Content-Length: 0 0',
  'a length beyond all numbers': 'Content-Length: 18446744073709551616',
  'a length and chunks': 'Content-Length: 5\r\nTransfer-Encoding: chunked',
  'chunks and a length': 'Transfer-Encoding: chunked\r\nContent-Length: 5',
  'chunks twice': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
  'chunks and then none': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'chunks in a list': 'Transfer-Encoding: chunked, identity',
  'chunks of another kind': 'Transfer-Encoding: xchunked',
  'chunks with a quirk': 'Transfer-Encoding: \x0bchunked',
  'a compressed body': 'Transfer-Encoding: gzip, chunked',
  'a space before the colon': 'Transfer-Encoding : chunked',
  'a folded line': 'X-A: b\r\n Transfer-Encoding: chunked',
  'a line without a colon': 'Transfer-Encoding chunked',
  'NUL in a name': 'Transfer\0-Encoding: chunked',
  'NUL in a value': 'Content-Length: 0\0',
  'a bare LF between lines': 'X-A: b\nContent-Length: 0',
  'a bare CR between lines': 'X-A: b\rContent-Length: 0',
};

for (const path of ['/nope', '/v1/sales/none/buy']) {
  test(`an ambiguous head smuggles no request into ${path}`, async () => {
    const sent = Object.entries(AMBIGUOUS).map(async ([what, lines]) => {
      const request = head(`POST ${path} HTTP/1.1`, lines);
      const { received, statuses } = await sendRaw(port, `${request}0\r\n\r\n${HIDDEN}`, 2);
      assert.ok(!received.includes('"status":"ok"'), `${what}: ${received}`);
      assert.ok(statuses.length <= 1, `${what}: ${received}`);
    });
    await othersAreServed();
    await Promise.all(sent);
  });
}

const BROKEN_CHUNKS = [
  'zz\r\n',
  '-1\r\n{}\r\n',
  'ffffffffffffffffffff\r\n',
  '0x2\r\n{}\r\n0\r\n\r\n',
  '2;ext=\r\n{}',
  `2${';x'.repeat(5_000)}\r\n{}`,
  '2\r\n{}X\r\n',
  '1\r\n{\n1\r\n}\r\n',
];
test('broken chunks buy nothing and smuggle no request in', async () => {
  for (const chunk of BROKEN_CHUNKS) {
    const request = buyHead('Transfer-Encoding: chunked');
    const connection = await sendRaw(port, `${request}${chunk}${HIDDEN}`, 2, 1_500);
    assert.ok(!connection.received.includes('"status":"ok"'), JSON.stringify(chunk));
    for (const status of connection.statuses) {
      // 505: the library does not read what follows the chunks as HTTP/1.1.
      assert.ok(status < 500 || status === 505, `${JSON.stringify(chunk)}: ${status}`);
    }
  }
  await othersAreServed();
});

test('pipelined requests get responses in order, or the connection closes', async () => {
  const quick = Array.from({ length: 200 }, (_, i) =>
    head(`GET ${i % 2 === 0 ? '/healthz' : '/nope'} HTTP/1.1`),
  ).join('');
  const { statuses } = await sendRaw(port, quick, 200, 10_000);
  assert.deepEqual(
    statuses,
    Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? 200 : 404)),
  );
  // Requests behind one that waits for Redis: the library closes such a connection.
  const waiting = await sendRaw(port, `${buyHead('Content-Length: 0')}${HIDDEN}`.repeat(20), 40);
  assert.ok(waiting.isClosed || waiting.statuses.length === 40, waiting.received);
  await othersAreServed();
});

const TRICKY_PATHS = [
  '/%2e%2e/healthz',
  '/v1/../healthz',
  '/./healthz',
  '//healthz',
  '/healthz/',
  '/healthz;a=b',
  '/healthz%00',
  '/healthz%20',
  '/Healthz',
  '/%68ealthz',
  '/v1/sales/../../healthz',
  '/v1/sales/%2e%2e%2fhealthz',
  '/v1//sales/x',
  '/v1/sales//buy',
  '/v1/sales/%c0%ae%c0%ae/me',
  '/v1/sales/%/me',
  '/v1/sales/%zz',
  `/v1/sales/${'a'.repeat(3_000)}`,
  '/v1/sales/a/b/c/d',
  '/v1/sales/{saleId}',
  '/v1/sales/__proto__',
  '/v1/sales/constructor/me',
  `/${'../'.repeat(500)}etc/passwd`,
];
test('only the exact path of an operation is accepted', async () => {
  const authorization = `Authorization: Bearer ${tokenOf('pathfinder')}`;
  for (const path of TRICKY_PATHS) {
    const connection = await sendRaw(port, head(`GET ${path} HTTP/1.1`, authorization));
    assert.deepEqual(connection.statuses, [404], path);
    assert.match(connection.received, /application\/problem\+json/);
  }
  const encoded = sale.saleId.replace('s', '%73');
  const connection = await sendRaw(port, head(`GET /v1/sales/${encoded} HTTP/1.1`));
  assert.deepEqual(connection.statuses, [404], 'a sale has one path');
  await othersAreServed();
});

test('an unsupported method gets 405', async () => {
  const path = `/v1/sales/${sale.saleId}`;
  for (const method of ['PUT', 'TRACE', 'HEAD', 'post', 'X', 'A'.repeat(2_000)]) {
    const connection = await sendRaw(port, head(`${method} ${path}/buy HTTP/1.1`));
    assert.deepEqual(connection.statuses, [405], method.slice(0, 10));
  }
  const overridden = head(`GET ${path}/buy HTTP/1.1`, 'X-HTTP-Method-Override: POST');
  assert.deepEqual((await sendRaw(port, overridden)).statuses, [405]);
  const bodiless = await sendRaw(port, head('HEAD /healthz HTTP/1.1'));
  assert.match(bodiless.received, /\r\n\r\n$/, 'the response to HEAD has no body');
});

/** The library handles these before our code: 400, 431 or 505 and a close, or no response until its timeout. */
const NO_HTTP: Record<string, string | Uint8Array> = {
  'HTTP/1.0': 'GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n',
  'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'HTTP/9.9': 'GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n',
  'HTTP/0.9': 'GET /healthz\r\n',
  'no host': 'GET /healthz HTTP/1.1\r\n\r\n',
  'a URL instead of a path': 'GET http://evil/healthz HTTP/1.1\r\nHost: x\r\n\r\n',
  'a tunnel': 'CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n',
  'a star': 'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
  'bare LFs': 'GET /healthz HTTP/1.1\nHost: x\n\n',
  'NUL in the path': 'GET /health\0z HTTP/1.1\r\nHost: x\r\n\r\n',
  'a space in the path': 'GET /health z HTTP/1.1\r\nHost: x\r\n\r\n',
  'no path': 'GET  HTTP/1.1\r\nHost: x\r\n\r\n',
  TLS: Buffer.from('16030100f1010000ed0303', 'hex'),
  'empty lines': '\r\n'.repeat(1_000),
  'random bytes': randomBytes(4_000),
  Redis: '*1\r\n$8\r\nFLUSHALL\r\n',
};
test('bytes that are not HTTP/1.1 do not reach our code', async () => {
  const sent = Object.entries(NO_HTTP).map(async ([what, bytes]) => {
    const { received, statuses } = await sendRaw(port, bytes);
    assert.doesNotMatch(received, /X-Request-Id/, what);
    for (const status of statuses) assert.ok([400, 431, 505].includes(status), what);
  });
  await othersAreServed();
  await Promise.all(sent);
});

function upgradeHead(...lines: string[]): string {
  return head(
    `GET /v1/sales/${sale.saleId}/live HTTP/1.1`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    ...(lines.length > 0
      ? lines
      : ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']),
  );
}

/** A WebSocket frame from a client, masked with zeros. */
function frame(opcode: number, payload: Buffer, isFinal = true): Buffer {
  const first = (isFinal ? 0x80 : 0) | opcode;
  const { length } = payload;
  const size =
    length < 126 ? Buffer.from([0x80 | length]) : Buffer.from([0xfe, length >> 8, length & 255]);
  return Buffer.concat([Buffer.from([first]), size, Buffer.alloc(4), payload]);
}

const FRAMES: Record<string, Buffer> = {
  'a reserved opcode': frame(3, Buffer.from('x')),
  'a reserved bit': Buffer.concat([Buffer.from([0xc1]), frame(1, Buffer.from('x')).subarray(1)]),
  'a message of 2 KiB': frame(2, Buffer.alloc(2_048)),
  'a message of 2^63 bytes': Buffer.from('82ffffffffffffffffff00000000', 'hex'),
  'a ping of 200 bytes': frame(9, Buffer.alloc(200)),
  'half a ping': frame(9, Buffer.from('x'), false),
  'a continuation of nothing': frame(0, Buffer.from('x')),
  'text that is no UTF-8': frame(1, Buffer.from([0xff, 0xfe, 0xfd])),
  'a close with half a code': frame(8, Buffer.from([3])),
  'a close with a code that is none': frame(8, Buffer.from([0, 1])),
  'fragments without end': Buffer.concat([
    frame(2, Buffer.alloc(100), false),
    ...Array.from({ length: 20 }, () => frame(0, Buffer.alloc(100), false)),
  ]),
  'a flood of pings': Buffer.concat(Array.from({ length: 5_000 }, () => frame(9, Buffer.alloc(0)))),
  'a flood of messages': Buffer.concat(
    Array.from({ length: 5_000 }, () => frame(1, Buffer.from('hi'))),
  ),
  'random bytes': randomBytes(5_000),
};
for (const [what, bytes] of Object.entries(FRAMES)) {
  test(`a WebSocket that sends ${what} is closed, and its neighbours are not`, async (t) => {
    const neighbour = await useWatcher(t, hotPath, sale.saleId);
    const connection = await RawConnection.open(port);
    connection.send(upgradeHead());
    await eventually(() => assert.deepEqual(connection.statuses, [101]));
    connection.send(bytes);
    assert.ok(await connection.untilClosed(20_000), 'it is still open');
    await othersAreServed();
    const count = neighbour.messages.length;
    await eventually(() => assert.ok(neighbour.messages.length > count));
  });
}

test('an invalid upgrade is refused, and so is one at another path', async () => {
  for (const lines of [
    ['Sec-WebSocket-Version: 13'],
    ['Sec-WebSocket-Key: x'],
    ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 8'],
    [`Sec-WebSocket-Key: ${'k'.repeat(3_000)}`, 'Sec-WebSocket-Version: 13'],
    ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Content-Length: 5'],
  ]) {
    const connection = await sendRaw(port, upgradeHead(...lines));
    for (const status of connection.statuses)
      assert.ok([101, 400, 422].includes(status), lines.join(' '));
    await othersAreServed();
  }
  for (const path of ['/healthz', `/v1/sales/${sale.saleId}`, '/nope']) {
    const request = upgradeHead().replace(/GET \S+/, `GET ${path}`);
    const connection = await sendRaw(port, request);
    assert.ok(!connection.statuses.includes(101), path);
  }
  const posted = upgradeHead().replace('GET', 'POST');
  assert.deepEqual((await sendRaw(port, posted)).statuses, [405]);
});
