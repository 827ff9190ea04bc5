/** `/metrics` of several workers on one port: any worker returns the sums of all, and counters never decrease. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { before, describe, it, test } from 'node:test';
import { request } from 'undici';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { FILE, type Scope, use } from '../../harness/use.ts';

const WORKERS = 3;
const BUYS = 60;
const BUYS_COUNTED = 'flash_sale_buy_seconds_count';
const UNRESPONSIVE = 'flash_sale_unresponsive_workers';
/** Above the second that a worker waits for an unresponsive one. */
const RESPONSE_MS_MAX = 4_000;

const redis = await useRedisWithIdentity(FILE);

async function startWorkers(t: Scope, count: number): Promise<EngineProcess> {
  const group = await useEngineProcess(t, 'hot-path', {
    REDIS_URL: redis.url,
    BUYER_AUTH: 'header',
    DURABILITY: 'fast',
    HOT_PATH_WORKERS: String(count),
  });
  return group.untilReady();
}

/** Uses a new connection, so that any worker may serve the request. */
async function send(group: EngineProcess, path: string, method: 'GET' | 'POST' = 'GET') {
  const { statusCode, body } = await request(group.url + path, {
    method,
    headers: { 'x-buyer-id': 'ada' },
    reset: true,
    headersTimeout: RESPONSE_MS_MAX,
  });
  return { statusCode, text: await body.text() };
}

async function scrape(group: EngineProcess): Promise<string> {
  const { statusCode, text } = await send(group, '/metrics');
  assert.equal(statusCode, 200, text);
  return text;
}

/** The values of a metric's samples. */
function valuesIn(text: string, name: string): number[] {
  return [...text.matchAll(new RegExp(`^${name}(?:{.*})? (\\S+)$`, 'gm'))].map(([, value]) =>
    Number(value),
  );
}

async function samples(group: EngineProcess, name: string): Promise<number[]> {
  return valuesIn(await scrape(group), name);
}

/** The purchases in a scrape to which every worker has replied. For one that has not, the sum has its earlier counts. */
async function buysOfAll(group: EngineProcess): Promise<number[]> {
  const text = await eventually(async () => {
    const found = await scrape(group);
    assert.deepEqual(valuesIn(found, UNRESPONSIVE), [0]);
    return found;
  });
  return valuesIn(text, BUYS_COUNTED);
}

function workersOf(group: EngineProcess): number[] {
  const pids = execFileSync('pgrep', ['-P', String(group.pid)], { encoding: 'utf8' });
  return pids.trim().split('\n').map(Number);
}

describe('the metrics of three workers', () => {
  let group: EngineProcess;
  before(async () => {
    group = await startWorkers(FILE, WORKERS);
    await eventually(async () => assert.deepEqual(await samples(group, UNRESPONSIVE), [0]));
    for (let i = 0; i < BUYS; i++) {
      assert.equal((await send(group, '/v1/sales/none/buy', 'POST')).statusCode, 404);
    }
  });

  it('count every request once, whichever worker responds', async () => {
    for (let round = 0; round < 12; round++) {
      assert.deepEqual(await buysOfAll(group), [BUYS]);
    }
    const scrapes = await Promise.all(Array.from({ length: 12 }, () => buysOfAll(group)));
    assert.deepEqual(new Set(scrapes.flat()), new Set([BUYS]));
    // A metric without a meaningful sum has one sample, from one worker.
    const [start, ...others] = await samples(group, 'process_start_time_seconds');
    assert.deepEqual(others, []);
    assert.ok(Math.abs(start! - Date.now() / 1_000) < 600, `${start}`);
  });

  it('are unavailable while the supervisor is unresponsive', async (t) => {
    await use(
      t,
      () => group.child.kill('SIGSTOP'),
      () => group.child.kill('SIGCONT'),
    );
    const [metrics, health] = await Promise.all([send(group, '/metrics'), send(group, '/healthz')]);
    assert.deepEqual([metrics.statusCode, JSON.parse(metrics.text).code], [503, 'unavailable']);
    assert.equal(health.statusCode, 200);
    group.child.kill('SIGCONT');
    assert.deepEqual(await buysOfAll(group), [BUYS]);
  });

  it('report a frozen worker as unresponsive, and keep its counts in the sum', async (t) => {
    const [memory] = await samples(group, 'process_resident_memory_bytes');
    const [frozen] = workersOf(group);
    await use(
      t,
      () => freeze(frozen!),
      () => thaw(frozen!),
    );
    const readMetrics = async () => {
      const { text } = await send(group, '/metrics');
      assert.match(text, new RegExp(`^${UNRESPONSIVE}{.*} 1$`, 'm'));
      return text;
    };
    // A connection that the kernel gives to the frozen worker gets no response.
    const text = await eventually(readMetrics, { timeoutMs: 60_000 });
    assert.match(text, new RegExp(`^${BUYS_COUNTED}{.*} ${BUYS}$`, 'm'));
    const without = Number(/^process_resident_memory_bytes{.*} (\S+)$/m.exec(text)![1]);
    assert.ok(without < 0.9 * memory!, `${without} of ${memory} without the memory of the third`);
    thaw(frozen!);
    assert.deepEqual(await buysOfAll(group), [BUYS]);
  });

  it('keep the counts of killed workers', async () => {
    for (const pid of workersOf(group).slice(0, 2)) process.kill(pid, 'SIGKILL');
    await eventually(async () => assert.deepEqual(await samples(group, BUYS_COUNTED), [BUYS]));
    assert.deepEqual(await buysOfAll(group), [BUYS]);
  });
});

test('a single worker returns its own metrics', async (t) => {
  const group = await startWorkers(t, 1);
  assert.deepEqual(await samples(group, UNRESPONSIVE), []);
  assert.equal((await samples(group, 'process_start_time_seconds')).length, 1);
});
