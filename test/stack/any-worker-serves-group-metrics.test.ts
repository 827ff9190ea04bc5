/** `/metrics` of several workers on one port: the same numbers whoever answers, and counters that never go back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { request } from 'undici';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { FILE } from '../../harness/use.ts';

const WORKERS = 3;
const BUYS = 60;
const BUYS_COUNTED = 'flash_sale_buy_seconds_count';
const UNRESPONSIVE = 'flash_sale_unresponsive_workers';
/** A worker that stands still is waited for a second; so long at most for who reaches one that stands still. */
const ANSWER_MS_MAX = 4_000;

const redis = await useRedis(FILE);

async function startWorkers(t: TestContext, count: number): Promise<EngineProcess> {
  const group = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    BUYER_AUTH: 'header',
    DURABILITY: 'fast',
    HOT_PATH_WORKERS: String(count),
  });
  return group.untilReady();
}

/** On a connection of its own, so that any worker may get it. */
async function ask(group: EngineProcess, path: string, method: 'GET' | 'POST' = 'GET') {
  const { statusCode, body } = await request(group.url + path, {
    method,
    headers: { 'x-buyer-id': 'ada' },
    reset: true,
    headersTimeout: ANSWER_MS_MAX,
  });
  return { statusCode, text: await body.text() };
}

/** The samples of a metric, as the process says them. */
async function samples(group: EngineProcess, name: string): Promise<number[]> {
  const { statusCode, text } = await ask(group, '/metrics');
  assert.equal(statusCode, 200, text);
  return [...text.matchAll(new RegExp(`^${name}(?:{.*})? (\\S+)$`, 'gm'))].map(([, value]) =>
    Number(value),
  );
}

async function startCounted(t: TestContext): Promise<EngineProcess> {
  const group = await startWorkers(t, WORKERS);
  await eventually(async () => assert.deepEqual(await samples(group, UNRESPONSIVE), [0]));
  for (let i = 0; i < BUYS; i++) {
    assert.equal((await ask(group, '/v1/sales/none/buy', 'POST')).statusCode, 404);
  }
  return group;
}

function workersOf(group: EngineProcess): number[] {
  const pids = execFileSync('pgrep', ['-P', String(group.pid)], { encoding: 'utf8' });
  return pids.trim().split('\n').map(Number);
}

test('every request is counted once, whoever answers', async (t) => {
  const group = await startCounted(t);
  for (let scrape = 0; scrape < 12; scrape++) {
    assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
  }
  const scrapes = await Promise.all(Array.from({ length: 12 }, () => samples(group, BUYS_COUNTED)));
  assert.deepEqual(new Set(scrapes.flat()), new Set([BUYS]));
  // Of what has no sum: one sample, and it is what one of them has.
  const [start, ...others] = await samples(group, 'process_start_time_seconds');
  assert.deepEqual(others, []);
  assert.ok(Math.abs(start! - Date.now() / 1_000) < 600, `${start}`);
});

test('a worker that stands still is counted as unresponsive, and its counters stay', async (t) => {
  const group = await startCounted(t);
  assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
  const [memory] = await samples(group, 'process_resident_memory_bytes');
  const [still] = workersOf(group);
  freeze(still!);
  t.after(() => thaw(still!));
  const answered = async () => {
    const { text } = await ask(group, '/metrics');
    assert.match(text, new RegExp(`^${UNRESPONSIVE}{.*} 1$`, 'm'));
    return text;
  };
  // Connections that the kernel gives to the one that stands still are answered by nobody.
  const text = await eventually(answered, { timeoutMs: 60_000 });
  assert.match(text, new RegExp(`^${BUYS_COUNTED}{.*} ${BUYS}$`, 'm'));
  const without = Number(/^process_resident_memory_bytes{.*} (\S+)$/m.exec(text)![1]);
  assert.ok(without < 0.9 * memory!, `${without} of ${memory} without the memory of the third`);
  thaw(still!);
  await eventually(async () => assert.deepEqual(await samples(group, UNRESPONSIVE), [0]));
  assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
});

test('what workers had counted that died stays in the sum', async (t) => {
  const group = await startCounted(t);
  assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
  for (const pid of workersOf(group).slice(0, 2)) process.kill(pid, 'SIGKILL');
  await eventually(async () => assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]));
  await eventually(async () => assert.deepEqual(await samples(group, UNRESPONSIVE), [0]), {
    timeoutMs: 30_000,
  });
  assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
});

test('a supervisor that says nothing makes nobody answer for one worker alone', async (t) => {
  const group = await startCounted(t);
  group.child.kill('SIGSTOP');
  t.after(() => group.child.kill('SIGCONT'));
  const [metrics, health] = await Promise.all([ask(group, '/metrics'), ask(group, '/healthz')]);
  assert.deepEqual([metrics.statusCode, JSON.parse(metrics.text).code], [503, 'unavailable']);
  assert.equal(health.statusCode, 200);
  group.child.kill('SIGCONT');
  assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]);
});

test('a single worker answers for itself', async (t) => {
  const group = await startWorkers(t, 1);
  assert.deepEqual(await samples(group, UNRESPONSIVE), []);
  assert.equal((await samples(group, 'process_start_time_seconds')).length, 1);
});
