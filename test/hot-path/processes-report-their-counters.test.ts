/**
 * Hot paths and persisters report their counters in keys that expire. What all hot paths report adds up to what buyers
 * got; a killed process disappears; and buying works as well where Redis refuses the reports.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { pino } from 'pino';
import { request } from 'undici';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers, useShards } from '../../harness/servers/connections.ts';
import { FILE, use } from '../../harness/use.ts';
import { EXPIRY_MS, type Reported, readReports, watch } from '../../src/counters/counter-keys.ts';
import { Reporter } from '../../src/counters/reporter.ts';

const { redis, database, servers } = await useServers(FILE);
const { shards } = servers;
const [place] = shards.servers;
const { client } = place!.shard;

const hotPathsIn = async () =>
  (await readReports(place!)).filter((report) => report.process === 'hot-path');

function totalsOf(reports: readonly Reported[], saleId: string): Record<string, number> {
  const totals: Record<string, number> = {};
  for (const { sales } of reports)
    for (const [outcome, [count]] of Object.entries(
      sales.find((sale) => sale.saleId === saleId)?.outcomes ?? {},
    ))
      totals[outcome] = (totals[outcome] ?? 0) + count;
  return totals;
}

test('two workers report what buyers got, and a killed one disappears within seconds', async (t) => {
  const group = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    BUYER_AUTH: 'header',
    DURABILITY: 'fast',
    HOT_PATH_WORKERS: '2',
  });
  await group.untilReady();
  await eventually(async () => assert.equal((await hotPathsIn()).length, 2));
  const sale = await makeSale(servers, { stock: 30 });
  const got: Record<string, number> = {};
  // By new connections, so that both workers serve some.
  await Promise.all(
    Array.from({ length: 100 }, async (_, buyer) => {
      const { statusCode, body } = await request(`${group.url}/v1/sales/${sale.saleId}/buy`, {
        method: 'POST',
        headers: { 'x-buyer-id': `buyer-${buyer % 90}` },
        reset: true,
      });
      const { code } = (await body.json()) as { code?: string };
      const outcome = code ?? (statusCode === 201 ? 'reserved' : 'replayed');
      got[outcome] = (got[outcome] ?? 0) + 1;
    }),
  );
  assert.equal(got.reserved, 30);
  const reports = await eventually(async () => {
    const found = await hotPathsIn();
    assert.deepEqual(totalsOf(found, sale.saleId), got);
    return found;
  });
  assert.ok(
    reports.every(({ sales }) => sales.length === 1),
    'both workers have served buyers',
  );
  assert.equal(new Set(reports.map(({ pid }) => pid)).size, 2);

  const [killed] = execFileSync('pgrep', ['-P', String(group.pid)], { encoding: 'utf8' }).split(
    '\n',
  );
  process.kill(Number(killed), 'SIGKILL');
  const killedAt = performance.now();
  await eventually(async () => {
    const pids = (await hotPathsIn()).map(({ pid }) => pid);
    assert.ok(!pids.includes(Number(killed)) && pids.length === 2, 'replaced by a new worker');
  });
  const tookMs = performance.now() - killedAt;
  assert.ok(tookMs < EXPIRY_MS + 8_000, `${tookMs} ms`);
  await group.stop();
  assert.deepEqual(await hotPathsIn(), [], 'a process that stops removes its counters');
});

test('a persister reports too, more often while somebody looks, and again after FLUSHALL', async (t) => {
  await usePersister(t, redis.url, database.url);
  const seen = async () => {
    const [persister] = await readReports(place!);
    assert.ok(persister?.process === 'persister' && persister.ready);
    assert.equal(persister.backlogRows, 0);
    return persister.seenAt;
  };
  const reportsIn = async (durationMs: number) => {
    const times = new Set<number>();
    const startMs = performance.now();
    await eventually(async () => {
      times.add(await seen());
      assert.ok(performance.now() > startMs + durationMs);
    });
    return { count: times.size, elapsedMs: performance.now() - startMs };
  };
  await eventually(seen);
  const unwatched = await reportsIn(1_500);
  // The report from before, and one for each interval that began.
  assert.ok(
    unwatched.count <= 2 + unwatched.elapsedMs / 1_750,
    `${JSON.stringify(unwatched)} without a viewer`,
  );
  await watch(place!);
  const watched = await eventually(async () => {
    const found = await reportsIn(1_200);
    assert.ok(found.count >= 3);
    return found;
  });
  assert.ok(
    watched.count <= 2 + watched.elapsedMs / 500,
    `${JSON.stringify(watched)} with a viewer`,
  );
  await client.flushall();
  await eventually(seen);
});

test('requests cause the report of a process whose timers starve', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const reporter = await use(t, () => {
    return new Reporter({
      process: 'hot-path',
      shards,
      log: pino({ level: 'silent' }),
      vitals: () => ({ ready: true }),
    });
  });
  reporter.tickIfLate(performance.now());
  assert.deepEqual(await hotPathsIn(), []);
  reporter.tickIfLate(performance.now() + 1_000);
  await eventually(async () => assert.equal((await hotPathsIn()).length, 1));
});

test('a user of Redis without the permission buys, and the log names what is missing once', async (t) => {
  await client.acl('SETUSER', 'app', 'reset', 'on', '>pw', '~fs:*', '&fs:*', '+@all', '-set');
  const url = redis.url.replace('//', '//app:pw@');
  const lines: string[] = [];
  const limited = await useShards(t, url);
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  const reporter = await use(t, () => {
    const vitals = () => ({ ready: true });
    return new Reporter({ process: 'hot-path', shards: limited, log, vitals });
  });
  await eventually(() => assert.equal(lines.length, 1));
  assert.match(lines[0]!, /may not SET; by ACL SETUSER allow these commands and the keys ~fs:\*/);
  reporter.tickIfLate(performance.now() + 60_000);
  const sale = await makeSale(servers);
  const hotPath = await useHotPath(t, url);
  assert.equal((await hotPath.buy(sale.saleId, 'ada')).status, 201);
  assert.equal(lines.length, 1);
  assert.deepEqual(await hotPathsIn(), []);
});
