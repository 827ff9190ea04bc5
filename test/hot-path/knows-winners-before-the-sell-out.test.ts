/** Hot paths announce their winners, so all know them before the sell-out, and read only what they did not hear. */
import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import { type TestHotPath, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale, type TestSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';
import { fingerprintOf, parseAnnouncement } from '../../src/domain/winner-announcement.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { saleKey, winnersChannel } from '../../src/lua/keys.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';

const redis = await useRedis(FILE);
const shards = await useShards(FILE, redis.url);
const { client } = shards.of('any');
const [here, there] = [await useHotPath(FILE, redis.url), await useHotPath(FILE, redis.url)];

const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
let strangers = 0;

/** Each hot path listens after a purchase that wins nothing. */
async function letListen({ saleId }: TestSale, hotPaths: readonly TestHotPath[]): Promise<void> {
  for (const hotPath of hotPaths) {
    const greedy = await hotPath.buy(saleId, 'greedy', { body: { sku: 'phone', quantity: 2 } });
    assert.equal(greedy.body.code, 'limit_reached');
  }
  await untilHeardBy(saleId, hotPaths.length);
}

async function untilHeardBy(saleId: string, count: number): Promise<void> {
  await eventually(async () => {
    const [, subscribers] = await client.pubsub('NUMSUB', winnersChannel(saleId));
    assert.equal(subscribers, count);
  });
}

/** Wins one unit for each buyer through a hot path. */
async function winAll(hotPath: TestHotPath, { saleId }: TestSale, buyers: readonly string[]) {
  const replies = await Promise.all(buyers.map((buyer) => hotPath.buy(saleId, buyer)));
  assert.ok(replies.every(({ status }) => status === 201));
}

/** Sends strangers until the hot path refuses one by itself. Returns the ms since the first refusal by Redis. */
async function untilRefusesItself(hotPath: TestHotPath, { saleId }: TestSale): Promise<number> {
  const refusals = () => hotPath.metric('flash_sale_local_sold_out_total');
  const before = await refusals();
  const startedAt = performance.now();
  for (;;) {
    const reply = await hotPath.buy(saleId, `stranger-${++strangers}`);
    assert.equal(reply.body.code, 'sold_out');
    const spentMs = performance.now() - startedAt;
    if ((await refusals()) > before) return spentMs;
    assert.ok(spentMs < 10_000, 'the hot path did not refuse by itself');
  }
}

async function assertKnown(hotPath: TestHotPath, { saleId }: TestSale, holders: readonly string[]) {
  const replies = await Promise.all(holders.map((holder) => hotPath.buy(saleId, holder)));
  const refused = replies.filter(({ status }) => status !== 200);
  assert.deepEqual(refused, []);
}

interface Command {
  ms: number;
  text: string;
}

/** The commands that Redis runs from now on, those of scripts too. */
async function watch(t: TestContext): Promise<() => Promise<Command[]>> {
  // ioredis' monitor takes the commands for replies to its own.
  const socket = await use(
    t,
    () => createConnection(redis.port, '127.0.0.1'),
    (started) => started.destroy(),
  );
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
  });
  socket.write('MONITOR\r\n');
  await eventually(() => assert.ok(received.startsWith('+OK\r\n')));
  return async () => {
    const mark = `mark-${++marks}`;
    await client.echo(mark);
    await eventually(() => assert.ok(received.includes(`"${mark}"`)));
    return received.split('\r\n').map((line) => ({
      ms: Number(/^\+([\d.]+)/.exec(line)?.[1]) * 1_000,
      text: Array.from(line.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, word]) => word).join(' '),
    }));
  };
}
let marks = 0;

/** The parts of the order that are read from now on, as first and last ordinal. */
async function watchReads(t: TestContext, { saleId }: TestSale): Promise<() => Promise<string[]>> {
  const commands = await watch(t);
  const reading = `LRANGE ${saleKey(saleId, 'order')} `;
  return async () =>
    (await commands()).flatMap(({ text }) =>
      text.startsWith(reading) ? text.slice(reading.length) : [],
    );
}

/** All winners that are announced from now on, by ordinal. */
async function hear(t: TestContext, { saleId }: TestSale): Promise<Map<number, number>> {
  const subscriber = await use(
    t,
    () => new Redis(redis.port),
    (connection) => connection.disconnect(),
  );
  const heard = new Map<number, number>();
  subscriber.on('messageBuffer', (_channel: Buffer, message: Buffer) => {
    const { timeline, runs } = parseAnnouncement(message, '')!;
    assert.equal(timeline, 0);
    for (const { ordinal, fingerprints } of runs) {
      for (const [i, fingerprint] of fingerprints.entries()) {
        assert.ok(!heard.has(ordinal + i));
        heard.set(ordinal + i, fingerprint);
      }
    }
  });
  await subscriber.subscribe(winnersChannel(saleId));
  return heard;
}

test('a hot path that sold nothing refuses after the sell-out without reading the order', async (t) => {
  const sale = await openSale(shards, { phone: 60 });
  await letListen(sale, [there]);
  const [reads, heard] = [await watchReads(t, sale), await hear(t, sale)];
  const winners = names('winner', 60);
  await winAll(here, sale, winners);
  await eventually(() => assert.equal(heard.size, 60));
  await untilRefusesItself(there, sale);
  await untilRefusesItself(here, sale);
  assert.deepEqual(await reads(), []);
  await assertKnown(there, sale, winners);
  await assertKnown(here, sale, winners);
});

test('a hot path reads only the winners whose announcement was lost', async (t) => {
  let read: string[] = [];
  // A hot path that reconnects may hear the announcement before it is cut off again.
  for (let attempts = 0; attempts < 3 && read[0] !== '20 26'; attempts++) {
    read = await readsAfterLosing20To26(t);
  }
  assert.deepEqual(read, ['20 26']);
});

/** Cuts a hot path off while the winners 20 to 26 are announced. Returns which parts of the order it reads later. */
async function readsAfterLosing20To26(t: TestContext): Promise<string[]> {
  const sale = await openSale(shards, { phone: 60 });
  await letListen(sale, [here, there]);
  const heard = await hear(t, sale);
  const winners = names('winner', 60);
  await winAll(here, sale, winners.slice(0, 20));
  await eventually(() => assert.equal(heard.size, 20));
  // Until they are lost, because a hot path subscribes again by itself.
  const isOver = new AbortController();
  const killing = killSubscribers(isOver.signal);
  await winAll(here, sale, winners.slice(20, 27));
  await eventually(() => assert.equal(heard.size, 27));
  isOver.abort();
  await killing;
  await untilHeardBy(sale.saleId, 3);
  await winAll(here, sale, winners.slice(27));
  await eventually(() => assert.equal(heard.size, 60));
  const reads = await watchReads(t, sale);
  await untilRefusesItself(here, sale);
  assert.deepEqual(await reads(), []);
  await untilRefusesItself(there, sale);
  const read = await reads();
  await assertKnown(there, sale, winners);
  return read;
}

/** Cuts the hot paths off from publish/subscribe, again and again. */
async function killSubscribers(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const list = String(await client.client('LIST'));
    const ids = list
      .split('\n')
      .filter((line) => line.includes('name=hot-path-sold-out'))
      .map((line) => /id=(\d+)/.exec(line)![1]!);
    await Promise.allSettled(ids.map((id) => client.client('KILL', 'ID', id)));
  }
}

test('a hot path reads the buyers whom the waitlist served', async (t) => {
  const sale = await openSale(shards, { phone: 3 });
  await letListen(sale, [there]);
  const heard = await hear(t, sale);
  const [first] = await Promise.all(
    names('winner', 3).map((winner) => here.buy(sale.saleId, winner)),
  );
  const joined = await here.call(`/v1/sales/${sale.saleId}/waitlist`, {
    method: 'POST',
    buyer: 'patient',
  });
  assert.equal(joined.status, 201, JSON.stringify(joined.body));
  await eventually(() => assert.equal(heard.size, 3));
  const path = `/v1/reservations/${first!.body.reservationId}/cancel`;
  assert.equal((await here.call(path, { method: 'POST', buyer: 'winner-0' })).status, 200);
  await shards.call(sweep, sale.saleId, { most: 10, tag: 'abcdefgh' });
  assert.equal((await sale.state()).position, 4);
  const reads = await watchReads(t, sale);
  await untilRefusesItself(there, sale);
  assert.deepEqual(await reads(), ['3 3']);
  await assertKnown(there, sale, ['patient', 'winner-1', 'winner-2']);
});

test('after the first refusal by Redis, the sale is read at once', async (t) => {
  const times: number[] = [];
  const commands = await watch(t);
  for (let i = 0; i < 9; i++) {
    const sale = await openSale(shards, { phone: 1 });
    await winAll(there, sale, ['winner']);
    assert.equal((await there.buy(sale.saleId, 'stranger')).body.code, 'sold_out');
    // The next read by a timer would be 0 to 140 ms later.
    const readMs = await eventually(async () => {
      const at = (await commands()).filter(({ text }) => text.includes(sale.saleId));
      const subscribed = at.find(({ text }) => /^subscribe .*:live$/.test(text));
      assert.ok(subscribed);
      const read = at.find(({ text, ms }) => ms > subscribed.ms && text.includes(readSale.sha1));
      assert.ok(read);
      return read.ms - subscribed.ms;
    });
    times.push(readMs);
  }
  const median = times.sort((a, b) => a - b)[4]!;
  assert.ok(median < 30, `${times.map(Math.round).join(' ')} ms`);
});

test('winners are announced with their places in the order, and nobody else is', async (t) => {
  const sale = await openSale(shards, { phone: 300 });
  const heard = await hear(t, sale);
  const outcomes = new Set<string>();
  for (let round = 0; round < 40; round++) {
    // New buyers, and repeated requests of earlier ones, who are more than the units in the end.
    const buyers = names('buyer', 20).map((name, i) =>
      (round + i) % 3 === 0 ? `${name}-again` : `${name}-${round}`,
    );
    const replies = await Promise.all(
      buyers.map((buyer, i) => [here, there][i % 2]!.buy(sale.saleId, buyer)),
    );
    for (const { status } of replies) outcomes.add(String(status));
  }
  assert.deepEqual([...outcomes].sort(), ['200', '201', '409']);
  const order = await client.lrange(saleKey(sale.saleId, 'order'), 0, -1);
  assert.equal(order.length, 300);
  await eventually(() =>
    assert.deepEqual(
      order.map((_buyer, ordinal) => heard.get(ordinal)),
      order.map(fingerprintOf),
    ),
  );
  assert.equal(heard.size, 300);
});
