/**
 * The live numbers of the dashboard: what the events contain, and that any number of viewers costs Redis the same as one.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { callAdmin, newSale, TOKENS, useApp } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { type EventStream, useEventStream } from '../../harness/network/event-stream.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE, type Scope } from '../../harness/use.ts';
import { Viewer } from '../../src/admin/dashboard/live/viewer.ts';

const VIEWERS_MAX = 1_000;
const VIEWER = { authorization: `Bearer ${TOKENS.viewer}` };

const { redis, database, servers } = await useServers(FILE);
const app = await useApp(FILE, servers);
const url = await app.listen({ host: '127.0.0.1', port: 0 });

const watch = (scope: Scope, query = '', token: string = TOKENS.viewer) =>
  useEventStream(scope, `${url}/dashboard/live${query}`, { authorization: `Bearer ${token}` });

/** Calls of some commands that Redis has had so far. */
async function callsOf(...commands: string[]): Promise<number[]> {
  const stats = await servers.shards.of('any').client.info('commandstats');
  return commands.map((command) =>
    Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0),
  );
}

test('a thousand viewers of a sale cause two reads a second, and one more is refused', async (t) => {
  const { saleId } = await makeSale(servers);
  const viewers = await Promise.all(
    Array.from({ length: VIEWERS_MAX - 1 }, () => watch(t, `?saleId=${saleId}`)),
  );
  // The overview reads the same sale.
  viewers.push(await watch(t));
  const refused = await watch(t);
  assert.deepEqual([refused.status, JSON.parse(refused.body).code], [503, 'overloaded']);
  await eventually(() => assert.ok(viewers.every(({ events }) => events.length > 0)));

  const commands = ['evalsha', 'zrevrange', 'mget', 'set'];
  const startedMs = Date.now();
  const before = await callsOf(...commands);
  await sleep(2_500);
  const calls = (await callsOf(...commands)).map((count, index) => count - before[index]!);
  const endedMs = Date.now();
  const seconds = (endedMs - startedMs) / 1_000;
  for (const [index, command] of commands.entries())
    assert.ok(calls[index]! <= 2 * seconds + 1, `${calls[index]} calls of ${command}`);
  // Events are counted by when they were composed: a busy machine delivers earlier ones late.
  const composedMs = ({ events }: EventStream) => events.map(({ data }) => Date.parse(data.at));
  // A busy machine takes longer to send an event to a thousand viewers.
  await eventually(async () => {
    const [reads] = await callsOf('evalsha');
    assert.ok(reads! - before[0]! >= 2, 'the sale is read');
    for (const viewer of viewers) {
      const count = composedMs(viewer).filter((ms) => ms >= startedMs).length;
      assert.ok(count >= 2, `a viewer got ${count} events`);
    }
  });
  for (const viewer of viewers) {
    const all = composedMs(viewer);
    assert.equal(new Set(all).size, all.length, 'no viewer gets an event twice');
    const count = all.filter((ms) => ms >= startedMs && ms <= endedMs).length;
    assert.ok(count <= 2 * seconds + 1, `a viewer got ${count} events`);
  }
});

test('events show the sale, what buyers got, the processes and the newest reservations', async (t) => {
  const sale = await makeSale(servers, { stock: 3 });
  const { saleId } = sale;
  await usePersister(t, redis.url, database.url);
  const hotPath = await useHotPath(t, redis.url);
  const startedAt = performance.now();
  const [overview, page] = await Promise.all([watch(t), watch(t, `?saleId=${saleId}`)]);
  assert.match(String(page.headers['content-type']), /^text\/event-stream/);
  assert.equal(page.headers['cache-control'], 'no-store');
  await eventually(() => assert.ok(overview.last && page.last));
  assert.ok(performance.now() - startedAt < 5_000, 'the first event comes at once');
  assert.equal(page.last.latencyMs, null);

  const got: Record<string, number> = {};
  const buy = async (buyer: string) => {
    const { status, body } = await hotPath.buy(saleId, buyer);
    const outcome = body.code ?? (status === 201 ? 'reserved' : 'replayed');
    got[outcome] = (got[outcome] ?? 0) + 1;
  };
  await Promise.all(['a', 'b', 'c', 'd', 'e', 'a'].map(buy));
  await eventually(async () => {
    await buy('a');
    const { decisions, latencyMs } = page.last;
    assert.ok(decisions.perSecond.replayed > 0);
    assert.ok(latencyMs.p50 > 0 && latencyMs.p99 <= latencyMs.max);
  });
  const shown = await eventually(() => {
    assert.deepEqual(page.last.decisions.total, got);
    assert.equal(page.last.newest.length, 3);
    return page.last;
  });
  assert.equal(shown.decisions.isComplete, true);
  assert.deepEqual(shown.servers, {
    redis: { ok: true, detail: 'ready' },
    postgres: { ok: true, detail: 'ready' },
  });
  const { body: expected } = await callAdmin(app, `GET /sales/${saleId}`);
  assert.deepEqual({ ...shown.sale, clock: null }, { ...expected, clock: null });
  const listed = await callAdmin(app, `GET /reservations?saleId=${saleId}`);
  assert.deepEqual(shown.newest, listed.body.data);
  assert.deepEqual(Object.keys(shown.history), ['fence', 'timeline', 'recoveries']);
  await eventually(() => {
    const rows = overview.last.processes;
    assert.deepEqual(
      rows.map(({ process }: { process: string }) => process),
      ['hot-path', 'persister'],
    );
    for (const row of rows) {
      assert.equal(row.pid, process.pid);
      assert.ok(row.ready && row.cpu >= 0 && Date.parse(row.seenAt) > Date.parse(row.startedAt));
    }
  });
  await eventually(() => {
    const row = overview.last.sales.find((each: { saleId: string }) => each.saleId === saleId);
    assert.deepEqual(row, {
      saleId,
      name: sale.name,
      status: 'open',
      startsAt: null,
      endsAt: null,
      loaded: 3,
      remaining: 0,
      held: 3,
      confirmed: 0,
      waiting: 0,
      redis: 'known',
    });
  });
  assert.equal(overview.last.moreSales, 0);
});

test('an unknown sale, a wrong token and a wrong parameter get a problem, and HEAD ends', async (t) => {
  const unknown = await watch(t, '?saleId=none');
  assert.deepEqual([unknown.status, JSON.parse(unknown.body).code], [404, 'sale_not_found']);
  assert.equal((await watch(t, '', 'a-wrong-token')).status, 401);
  assert.equal((await watch(t, '?sale=x')).status, 422);
  const head = await fetch(`${url}/dashboard/live`, {
    method: 'HEAD',
    headers: { authorization: `Bearer ${TOKENS.viewer}` },
  });
  assert.equal(head.status, 200);
  assert.match(String(head.headers.get('content-type')), /^text\/event-stream/);
});

test('a slow viewer misses events: at most two wait for it', async () => {
  const viewer = new Viewer();
  const taken: string[] = [];
  let takeNext = () => {};
  viewer.pipe(
    new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, done) {
        taken.push(String(chunk));
        takeNext = done;
      },
    }),
  );
  for (let i = 1; i <= 100; i++) {
    viewer.offer(Buffer.from(`event ${i}`));
    await sleep(0);
  }
  assert.deepEqual(taken, ['event 1']);
  assert.ok(viewer.readableLength <= 'event 2'.length);
  while (taken.length < 2) {
    takeNext();
    await sleep(1);
  }
  takeNext();
  await sleep(1);
  viewer.offer(Buffer.from('event 101'));
  await eventually(() => assert.equal(taken.at(-1), 'event 101'));
  assert.ok(taken.length <= 4, taken.join());
});

test('the stream of a draft ends when it is deleted', async (t) => {
  const { body } = await callAdmin(app, 'POST /sales', { body: newSale() });
  const page = await watch(t, `?saleId=${body.saleId}`);
  await eventually(() => assert.equal(page.last?.sale.status, 'draft'));
  await callAdmin(app, `DELETE /sales/${body.saleId}`);
  await eventually(() => assert.ok(page.isEnded));
  assert.deepEqual(page.events.at(-1)?.event, 'end');
  assert.deepEqual(page.last, { reason: 'sale_deleted' });
});

test('the stream of a session ends after it was signed out', async (t) => {
  const signedIn = await fetch(`${url}/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: TOKENS.viewer }),
  });
  const cookie = signedIn.headers.get('set-cookie')!.split(';')[0]!;
  const stream = await useEventStream(t, `${url}/dashboard/live`, { cookie });
  await eventually(() => assert.ok(stream.last));
  const signedOut = await fetch(`${url}/session`, { method: 'DELETE', headers: { cookie } });
  assert.equal(signedOut.status, 204);
  await eventually(() => assert.ok(stream.isEnded));
  assert.deepEqual(stream.last, { reason: 'signed_out' });
});

test('while Redis is unavailable, the stream says so and shows what PostgreSQL has', async (t) => {
  const own = await useServers(t);
  const other = await useApp(t, own.servers);
  const address = await other.listen({ host: '127.0.0.1', port: 0 });
  const { saleId } = await makeSale(own.servers);
  const page = await useEventStream(t, `${address}/dashboard/live?saleId=${saleId}`, VIEWER);
  await eventually(() => assert.equal(page.last?.sale.redis, 'known'));
  await own.redis.kill();
  await eventually(() => assert.equal(page.last?.sale.redis, 'away'));
  assert.equal(page.last.servers.redis.ok, false);
  assert.deepEqual([page.last.sale.saleId, page.last.processes], [saleId, []]);
});

test('streams end with the process, which does not wait for their clients', async (t) => {
  const other = await useApp(t, servers);
  const address = await other.listen({ host: '127.0.0.1', port: 0 });
  const streams = await Promise.all(
    Array.from({ length: 20 }, () => useEventStream(t, `${address}/dashboard/live`, VIEWER)),
  );
  await eventually(() => assert.ok(streams.every(({ last }) => last)));
  const closed = once(other.server, 'close');
  const startedAt = performance.now();
  await Promise.all([other.close(), closed]);
  assert.ok(performance.now() - startedAt < 4_500);
  await eventually(() => assert.ok(streams.every(({ isEnded }) => isEnded)));
  for (const { last } of streams) assert.deepEqual(last, { reason: 'shutting_down' });
});

test('a verification sends its progress and then its report; one of an unknown sale is 404', async (t) => {
  const { saleId } = await makeSale(servers);
  const address = `${url}/dashboard/verification?saleId=`;
  const stream = await useEventStream(t, address + saleId, VIEWER);
  await eventually(() => assert.ok(stream.isEnded));
  const names = stream.events.map(({ event }) => event);
  assert.deepEqual(new Set(names.slice(0, -1)), new Set(['progress']));
  assert.deepEqual([names.at(-1), typeof stream.last.ok], ['report', 'boolean']);
  assert.ok(stream.last.checks.length > 10);
  const unknown = await useEventStream(t, `${address}no-such-sale`, VIEWER);
  assert.deepEqual([unknown.status, JSON.parse(unknown.body).code], [404, 'sale_not_found']);
  const head = await fetch(address + saleId, { method: 'HEAD', headers: VIEWER });
  assert.equal(head.status, 200);
});
