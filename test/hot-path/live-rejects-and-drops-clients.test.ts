import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { refusedUpgrade, useWatcher } from '../../harness/crowds/live-watcher.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE, type Scope, use } from '../../harness/use.ts';
import { liveChannel } from '../../src/lua/keys.ts';

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

test('an invalid token is refused in the header and the subprotocol; no token is accepted', async () => {
  const { saleId } = await openSale(shards, { phone: 1 });
  const forged = `${tokenOf('ada').slice(0, -4)}AAAA`;
  const expired = tokenOf('ada', { exp: 1 });
  for (const headers of [
    { authorization: `Bearer ${forged}` },
    { authorization: `Bearer ${expired}` },
    { authorization: 'Basic YWRhOmFkYQ==' },
    { 'sec-websocket-protocol': `flash-sale, bearer.${forged}` },
    { 'sec-websocket-protocol': 'bearer.' },
  ]) {
    const refused = await refusedUpgrade(hotPath, saleId, headers);
    assert.deepEqual([refused.status, refused.code], [401, 'unauthorized']);
  }
  assert.equal((await refusedUpgrade(hotPath, saleId)).status, 101);
  const inUrl = await hotPath.call(`/v1/sales/${saleId}/live?token=${forged}`);
  assert.equal(inUrl.status, 422);
});

test('an unknown sale gets 404, a plain request 422, another method 405', async () => {
  for (const saleId of ['no-such-sale', 'NOT-A-SALE-ID']) {
    const refused = await refusedUpgrade(hotPath, saleId);
    assert.deepEqual([refused.status, refused.code], [404, 'sale_not_found']);
  }
  const { saleId } = await openSale(shards, { phone: 1 });
  const plain = await hotPath.call(`/v1/sales/${saleId}/live`);
  assert.deepEqual([plain.status, plain.body.code], [422, 'invalid_request']);
  const posted = await hotPath.call(`/v1/sales/${saleId}/live`, { method: 'POST' });
  assert.deepEqual([posted.status, posted.headers.allow], [405, 'GET, HEAD, OPTIONS']);
});

test('a sale that Redis has lost is recovering for new clients', async () => {
  const { saleId } = await openSale(shards, { phone: 1 });
  assert.equal((await refusedUpgrade(hotPath, saleId)).status, 101);
  await shards.of(saleId).client.flushall();
  await eventually(async () => {
    const refused = await refusedUpgrade(hotPath, saleId);
    assert.deepEqual([refused.status, refused.code], [503, 'recovering']);
    assert.ok(refused.headers['retry-after']);
  });
});

test('beyond the limit a client gets 503 with Retry-After, and a closed connection frees its slot', async (t) => {
  const small = await useHotPath(t, redis.url, { LIVE_SUBSCRIBERS_MAX: '2' });
  const { saleId } = await openSale(shards, { phone: 1 });
  const [first] = [await useWatcher(t, small, saleId), await useWatcher(t, small, saleId)];
  const refused = await refusedUpgrade(small, saleId);
  assert.deepEqual([refused.status, refused.code], [503, 'overloaded']);
  assert.equal(await small.metric('flash_sale_live_subscribers'), 2);
  await first.close();
  await eventually(async () => assert.equal((await refusedUpgrade(small, saleId)).status, 101));
});

test('a client that sends too many or too large messages is closed; the others are not', async (t) => {
  const { saleId } = await openSale(shards, { phone: 1 });
  const [quiet, loud, long] = await Promise.all(
    [1, 2, 3].map(() => useWatcher(t, hotPath, saleId)),
  );
  for (let i = 0; i < 5; i++) quiet!.socket.send('hello');
  for (let i = 0; i < 100; i++) loud!.socket.send('hello');
  long!.socket.send('x'.repeat(2_000));
  await eventually(() => assert.equal(loud!.closeCode, 1008));
  await eventually(() => assert.notEqual(long!.closeCode, undefined));
  await hotPath.buy(saleId, 'ada');
  await quiet!.receives('sale', ({ skus }) => skus[0].soldOut);
});

test('a client that does not read is dropped, and the others are served meanwhile', async (t) => {
  const { saleId } = await openSale(shards, { phone: 100 });
  await connectAndNeverRead(t, saleId, 'ada');
  const reads = await useWatcher(t, hotPath, saleId, { buyer: 'ada' });
  await reads.receives('sale', () => true);
  // More messages for ada than the kernel buffers for a client: 40,000 reservations of 400 bytes each.
  const { client } = shards.of(saleId);
  const channel = liveChannel(saleId);
  await eventually(async () =>
    assert.deepEqual(await client.pubsub('NUMSUB', channel), [channel, 1]),
  );
  for (let batch = 0; batch < 200; batch++) {
    const lines = Array.from({ length: 200 }, (_, i) => eventLine(batch * 200 + i + 1));
    await client.publish(channel, lines.join('\n'));
    await eventually(() =>
      assert.ok(reads.messages.at(-1)!.message.reservation?.position === (batch + 1) * 200),
    );
  }
  await eventually(async () => {
    assert.equal(await hotPath.metric('flash_sale_live_dropped_clients_total'), 1);
    assert.equal(await hotPath.metric('flash_sale_live_subscribers'), 1);
  });
  await hotPath.buy(saleId, 'grace');
  await reads.receives('sale', ({ skus }) => skus[0].remaining === 99);
});

test('a stop closes WebSockets with 1012, accepts no new ones, and waits for none', async (t) => {
  const stopping = await useHotPath(t, redis.url);
  const { saleId } = await openSale(shards, { phone: 1 });
  const watchers = await Promise.all(
    [undefined, 'ada', 'grace'].map((buyer) =>
      useWatcher(t, stopping, saleId, buyer ? { buyer } : {}),
    ),
  );
  const startedAt = performance.now();
  await stopping.close();
  assert.ok(performance.now() - startedAt < 5_000);
  for (const watcher of watchers) {
    await eventually(() => assert.equal(watcher.closeCode, 1012));
  }
  await assert.rejects(refusedUpgrade(stopping, saleId));
});

test('a stop disconnects many WebSockets a few at a time', async (t) => {
  const stopping = await useHotPath(t, redis.url);
  const { saleId } = await openSale(shards, { phone: 1 });
  const watchers = await Promise.all(
    Array.from({ length: 40 }, () => useWatcher(t, stopping, saleId)),
  );
  const isOpen = () => watchers.filter(({ closeCode }) => closeCode === undefined).length;
  const stopped = stopping.close();
  await eventually(() => assert.ok(isOpen() < 40));
  assert.ok(isOpen() > 20, `only ${isOpen()} of 40 are still connected`);
  await stopped;
  await eventually(() => assert.equal(isOpen(), 0));
});

/** The event line of one of ada's reservations, as it is published. */
function eventLine(position: number): string {
  const record = `1\tR\t${position}\tabcdefgh\tphone*1\t1999\t1790000000000\t1790000300000\tkey-${position}`;
  return `${record}\tada\t1790000000000\t\trequest\t`;
}

async function connectAndNeverRead(scope: Scope, saleId: string, buyer: string): Promise<void> {
  const { port } = new URL(hotPath.url);
  const socket = await use(
    scope,
    () => connect(Number(port), '127.0.0.1'),
    (opened) => opened.destroy(),
  );
  socket.on('error', () => undefined);
  socket.write(
    [
      `GET /v1/sales/${saleId}/live HTTP/1.1`,
      'Host: 127.0.0.1',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      `Authorization: Bearer ${tokenOf(buyer)}`,
      '\r\n',
    ].join('\r\n'),
  );
  await once(socket, 'data');
  socket.pause();
}
