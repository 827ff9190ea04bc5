/**
 * The client repeats a request only where that is safe and useful, with the same key, and never claims an outcome that
 * it does not know. The hot path is real, behind a proxy that loses requests and responses; a scripted server gives the
 * responses that a real one gives only under load.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlashSale, type Retry } from '../../clients/typescript/src/index.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { useScriptedServer } from '../../harness/network/scripted-server.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);
const { port } = hotPath.internals;
const proxy = await useCuttableProxy(FILE, { host: '127.0.0.1', port });
const sale = await openSale(shards, { phone: 100 }, { perBuyerLimit: 5 });
const { saleId } = sale;
const LIMITS = { attemptsMax: 4, totalMsMax: 5_000, responseMsMax: 1_000 };

function clientOf(buyer: string, url = `http://127.0.0.1:${proxy.port}`): FlashSale {
  return new FlashSale({ url, token: tokenOf(buyer), ...LIMITS });
}

async function ownedBy(buyer: string): Promise<number> {
  const mine = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer });
  return mine.body.reservations.length;
}

function problem(status: number, code: string) {
  return {
    status,
    headers: { 'content-type': 'application/problem+json' },
    body: { type: `urn:${code}`, title: code, status, code, detail: code },
  };
}

test('a lost response: the repeated purchase gets the reservation of the first', async () => {
  const retries: Retry[] = [];
  proxy.loseReplyTo('/buy');
  const bought = await clientOf('ada').buy(
    saleId,
    { sku: 'phone' },
    { onRetry: (retry) => retries.push(retry) },
  );
  assert.ok(bought.outcome === 'done', JSON.stringify(bought));
  assert.equal(bought.isReplayed, true);
  assert.equal(retries.length, 1);
  assert.equal(retries[0]!.problem, undefined);
  assert.equal(await ownedBy('ada'), 1);
});

test('a lost request: the repeated purchase is the first', async () => {
  proxy.loseRequestWith('/buy');
  const bought = await clientOf('bob').buy(saleId, { items: [{ sku: 'phone', quantity: 2 }] });
  assert.ok(bought.outcome === 'done', JSON.stringify(bought));
  assert.equal(bought.isReplayed, false);
  assert.equal(await ownedBy('bob'), 1);
});

test('no response at all: the outcome is unknown, and the key finds it later', async () => {
  const client = clientOf('cleo');
  const reply = proxy.loseReplyTo('/buy');
  const unknown = client.buy(saleId, {}, { attemptsMax: 3 });
  await eventually(() => assert.ok(reply.hasCaught));
  proxy.refuse();
  const { outcome, key } = await unknown;
  assert.equal(outcome, 'unknown');
  proxy.heal();
  const found = await client.buy(saleId, {}, { key });
  assert.ok(found.outcome === 'done' && found.isReplayed);
  assert.equal(await ownedBy('cleo'), 1);
});

test('a connection that says nothing is given up, and the purchase repeated', async () => {
  proxy.stall();
  const buying = clientOf('dora').buy(
    saleId,
    {},
    { responseMsMax: 300, onRetry: () => proxy.heal() },
  );
  const bought = await buying;
  assert.equal(bought.outcome, 'done');
  assert.equal(await ownedBy('dora'), 1);
});

test('buying, giving back and the own state are typed by the document', async () => {
  const client = clientOf('eve');
  const bought = await client.buy(saleId, { sku: 'phone', quantity: 3 });
  assert.ok(bought.outcome === 'done');
  const { reservationId, total } = bought.value;
  assert.equal(total, 3 * 1_999);
  const tooMany = await client.buy(saleId, { sku: 'phone', quantity: 4 });
  assert.ok(tooMany.outcome === 'refused' && tooMany.problem.code === 'limit_reached');
  assert.equal(tooMany.problem.remainingAllowance, 2);
  const one = await client.getReservation(reservationId);
  assert.ok(one.outcome === 'done' && one.value.status === 'reserved');
  const back = await client.giveBack(reservationId);
  assert.ok(back.outcome === 'done' && back.value.status === 'cancelled');
  const mine = await client.getMine(saleId);
  assert.ok(mine.outcome === 'done' && mine.value.remainingAllowance === 5);
  const notMine = await clientOf('ada').getReservation(reservationId);
  assert.ok(notMine.outcome === 'refused' && notMine.problem.code === 'reservation_not_found');
});

test('the same key and body are sent again after 503, not before Retry-After, with jitter', async (t) => {
  const server = await useScriptedServer(t, [
    { ...problem(503, 'overloaded'), headers: { 'retry-after': '1' } },
    'lost',
    { status: 201, body: { reservationId: 'one' } },
  ]);
  const bought = await clientOf('fay', server.url).buy(saleId, { sku: 'phone' });
  assert.equal(bought.outcome, 'done');
  const keys = server.requests.map(({ headers }) => headers['idempotency-key']);
  assert.deepEqual(keys, [bought.key, bought.key, bought.key]);
  assert.deepEqual(new Set(server.requests.map(({ body }) => body)).size, 1);
  const [first, second] = server.requests;
  const waitedMs = second!.atMs - first!.atMs;
  assert.ok(waitedMs > 1_050, `${waitedMs} ms`);
});

test('429 rate_limited is repeated, every other 4xx is not', async (t) => {
  const limited = { ...problem(429, 'rate_limited'), headers: { 'retry-after': '0' } };
  const server = await useScriptedServer(t, [limited, problem(409, 'sold_out')]);
  const soldOut = await clientOf('gus', server.url).buy(saleId);
  assert.ok(soldOut.outcome === 'refused' && soldOut.problem.code === 'sold_out');
  assert.equal(server.requests.length, 2);
  for (const [status, code] of [
    [401, 'unauthorized'],
    [409, 'sale_paused'],
    [410, 'sale_ended'],
    [422, 'idempotency_key_reused'],
    [429, 'too_many_holds'],
  ] as const) {
    const once = await useScriptedServer(t, [problem(status, code)]);
    const refused = await clientOf('gus', once.url).buy(saleId);
    assert.ok(refused.outcome === 'refused' && refused.problem.code === code);
    assert.equal(once.requests.length, 1, code);
  }
});

test('a purchase that no attempt can have made is refused, not unknown', async (t) => {
  const busy = await useScriptedServer(t, [problem(503, 'overloaded')]);
  const refused = await clientOf('hal', busy.url).buy(saleId, {}, { attemptsMax: 2 });
  assert.ok(refused.outcome === 'refused' && refused.problem.code === 'overloaded');
  assert.equal(busy.requests.length, 2);
  // After a lost response, neither a full queue nor a token that has ended says what became of the purchase.
  for (const last of [problem(503, 'overloaded'), problem(401, 'unauthorized')]) {
    const server = await useScriptedServer(t, ['lost', last]);
    const unknown = await clientOf('hal', server.url).buy(saleId, {}, { attemptsMax: 2 });
    assert.equal(unknown.outcome, 'unknown', last.body.code);
  }
  const decided = await useScriptedServer(t, ['lost', problem(409, 'sold_out')]);
  const soldOut = await clientOf('hal', decided.url).buy(saleId);
  assert.equal(soldOut.outcome, 'refused');
});

test('an error page of a proxy is a problem too', async (t) => {
  const page = '<html>Bad gateway</html>';
  const server = await useScriptedServer(t, [
    { status: 502, body: page },
    { status: 403, body: page },
  ]);
  const refused = await clientOf('ivy', server.url).getSale(saleId);
  assert.ok(refused.outcome === 'refused' || refused.outcome === 'unknown');
  assert.ok(refused.problem?.code === 'unrecognized' && refused.problem.status === 403);
});

test('retries are bounded in time: a Retry-After beyond the limit is not waited for', async (t) => {
  const later = { ...problem(503, 'recovering'), headers: { 'retry-after': '60' } };
  const server = await useScriptedServer(t, [later]);
  const startedAt = performance.now();
  const refused = await clientOf('jo', server.url).getSale(saleId);
  assert.ok(performance.now() - startedAt < 10_000);
  assert.ok(refused.outcome === 'refused' && refused.retryAfterMs === 60_000);
});

test('an abort ends the request or the wait at once, with its reason', async (t) => {
  const server = await useScriptedServer(t, [
    { ...problem(503, 'recovering'), headers: { 'retry-after': '3' } },
  ]);
  const stopping = new AbortController();
  const buying = clientOf('kim', server.url).buy(
    saleId,
    {},
    { signal: stopping.signal, onRetry: () => stopping.abort(new Error('the page was closed')) },
  );
  await assert.rejects(buying, /the page was closed/);
  assert.equal(server.requests.length, 1);
  const aborted = clientOf('kim').getSale(saleId, { signal: AbortSignal.abort() });
  await assert.rejects(aborted, { name: 'AbortError' });
});

test('a token is asked for again before each attempt', async (t) => {
  const server = await useScriptedServer(t, ['lost', problem(409, 'sold_out')]);
  let count = 0;
  const client = new FlashSale({ ...LIMITS, url: server.url, token: async () => `t${++count}` });
  await client.buy(saleId);
  const sent = server.requests.map(({ headers }) => headers.authorization);
  assert.deepEqual(sent, ['Bearer t1', 'Bearer t2']);
});
