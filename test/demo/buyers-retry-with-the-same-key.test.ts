/** A buyer of the demo that gets 503 or a broken connection retries with the same key until it gets a response. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createVerifier } from 'fast-jwt';
import { use } from '../../harness/use.ts';
import { runCrowd } from '../../src/dev/demo/crowd.ts';
import { REPLAYED, RESERVED, SOLD_OUT } from '../../src/dev/demo/tally.ts';

const JWT_SECRET = '0123456789abcdef0123456789abcdef';
const never = new AbortController().signal;

/** A fake hot path. `respond` gets the number of the buyer's attempt, from 1. */
async function useShop(
  t: TestContext,
  respond: (attempt: number, response: ServerResponse, request: IncomingMessage) => void,
) {
  const verify = createVerifier({ key: JWT_SECRET, algorithms: ['HS256'] });
  const keysOfBuyer = new Map<string, string[]>();
  const server = await use(
    t,
    () =>
      createServer((request, response) => {
        const { sub } = verify(request.headers.authorization!.slice('Bearer '.length)) as {
          sub: string;
        };
        const keys = keysOfBuyer.get(sub) ?? [];
        keysOfBuyer.set(sub, [...keys, request.headers['idempotency-key'] as string]);
        respond(keys.length + 1, response, request);
      }).listen(0, '127.0.0.1'),
    (started) => {
      started.close();
      started.closeAllConnections();
    },
  );
  await once(server, 'listening');
  const hotPathUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { sale: { hotPathUrl, jwtSecret: JWT_SECRET, saleId: 'a-sale' }, keysOfBuyer };
}

void test('503, then a broken connection, then 201: one reservation, two retries, one key per buyer', async (t) => {
  const { sale, keysOfBuyer } = await useShop(t, (attempt, response, request) => {
    if (attempt === 1) response.writeHead(503, { 'retry-after': '0' }).end('{}');
    else if (attempt === 2) request.socket.destroy();
    else response.writeHead(201).end('{}');
  });
  let responses = 0;
  const tally = await runCrowd(sale, 20, () => (responses += 1), never);
  assert.equal(tally.count(RESERVED), 20);
  assert.equal(tally.accepted, 20);
  assert.equal(tally.retries, 40);
  assert.equal(responses, 20);
  assert.equal(keysOfBuyer.size, 20, 'each buyer has its own id');
  const keys = [...keysOfBuyer.values()];
  for (const own of keys) assert.deepEqual(own, [own[0], own[0], own[0]]);
  assert.equal(new Set(keys.flat()).size, 20, 'no two buyers share a key');
});

void test('a rejection is final, and a replayed reservation counts as a reservation', async (t) => {
  let requests = 0;
  const { sale } = await useShop(t, (_attempt, response) => {
    requests += 1;
    if (requests === 1) response.writeHead(201).end('{}');
    else if (requests === 2) response.writeHead(200, { 'idempotent-replayed': 'true' }).end('{}');
    else response.writeHead(409).end(JSON.stringify({ code: 'sold_out' }));
  });
  const tally = await runCrowd(sale, 10, () => {}, never);
  assert.deepEqual(
    [tally.count(RESERVED), tally.count(REPLAYED), tally.count(SOLD_OUT), tally.retries],
    [1, 1, 8, 0],
  );
  assert.equal(tally.accepted, 2);
});

void test('a retry waits for Retry-After', async (t) => {
  const requestedAt: number[] = [];
  const { sale } = await useShop(t, (attempt, response) => {
    requestedAt.push(performance.now());
    if (attempt === 1) response.writeHead(503, { 'retry-after': '1' }).end('{}');
    else response.writeHead(201).end('{}');
  });
  await runCrowd(sale, 1, () => {}, never);
  assert.ok(
    requestedAt[1]! - requestedAt[0]! >= 990,
    `retried after ${requestedAt[1]! - requestedAt[0]!} ms`,
  );
});

void test('at a pace, buyers come one after the other, and some of the late ones join the waitlist', async (t) => {
  const paths: string[] = [];
  const { sale } = await useShop(t, (_attempt, response, request) => {
    paths.push(request.url!);
    const body = JSON.stringify({ code: 'sold_out' });
    response.writeHead(request.url!.endsWith('/buy') ? 409 : 201).end(body);
  });
  const startedAt = performance.now();
  const pace = { perSecond: 50, waitlisted: 1 };
  const tally = await runCrowd(sale, 11, () => undefined, never, pace);
  assert.ok(performance.now() - startedAt >= 199);
  assert.equal(tally.count(SOLD_OUT), 11);
  assert.equal(paths.filter((path) => path.endsWith('/waitlist')).length, 11);
});
