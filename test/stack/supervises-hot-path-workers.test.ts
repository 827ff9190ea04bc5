/**
 * `flash-sale hot-path` with several workers: they share one port, are restarted when they die, and end with the
 * supervisor. A taken port is not shared by accident.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { isAlive, MAIN_MODULE, until, useStackHome } from '../../harness/engine/stack-process.ts';
import { use } from '../../harness/use.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const HOT_PATH = { command: [MAIN_MODULE, 'hot-path'] };
const JWT_SECRET = '0123456789abcdef0123456789abcdef';

function childrenOf(pid: number): number[] {
  try {
    return execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map(Number);
  } catch {
    // pgrep exits with 1 when it finds none.
    return [];
  }
}

async function responds(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    return false;
  }
}

void test('a killed worker is restarted, and all workers end when the supervisor is killed', async (t) => {
  const home = await useStackHome(t);
  const { redisUrl } = await home.start().ready();
  const [port] = await findFreePorts(1);
  const group = home.start({
    ...HOT_PATH,
    env: {
      REDIS_URL: redisUrl,
      JWT_SECRET,
      HOT_PATH_PORT: String(port),
      HOT_PATH_WORKERS: '2',
    },
  });
  const url = `http://127.0.0.1:${port}`;
  await until('the workers respond', () => responds(url), { account: () => group.stderr });
  const [first, second] = childrenOf(group.pid);
  assert.ok(first && second);

  process.kill(first, 'SIGKILL');
  await until('there are two workers again', () => {
    const workers = childrenOf(group.pid);
    return workers.length === 2 && !workers.includes(first);
  });
  await until('they respond', () => responds(url));
  assert.match(group.stderr, new RegExp(`process ${first}\\) was ended by SIGKILL`));

  const workers = childrenOf(group.pid);
  process.kill(group.pid, 'SIGKILL');
  await until('no worker is left', () => !workers.some(isAlive));
});

void test('SIGTERM ends all workers and then the supervisor, which exits with 0', async (t) => {
  const home = await useStackHome(t);
  const { redisUrl } = await home.start().ready();
  const group = home.start({
    ...HOT_PATH,
    env: { REDIS_URL: redisUrl, JWT_SECRET, HOT_PATH_WORKERS: '2' },
  });
  await until('there are two workers', () => childrenOf(group.pid).length === 2);
  const workers = childrenOf(group.pid);
  group.child.kill('SIGTERM');
  assert.equal(await group.ended(), 0, group.stderr);
  assert.deepEqual(workers.filter(isAlive), []);
});

void test('a taken port is rejected, though SO_REUSEPORT alone would allow it', async (t) => {
  const occupant = await use(t, () => createServer().listen(0, '127.0.0.1'));
  await once(occupant, 'listening');
  const { port } = occupant.address() as AddressInfo;
  const group = (await useStackHome(t)).start({
    ...HOT_PATH,
    env: { JWT_SECRET, HOT_PATH_PORT: String(port), HOT_PATH_WORKERS: '2' },
  });
  assert.equal(await group.ended(), 1);
  assert.match(group.stderr, new RegExp(`127\\.0\\.0\\.1:${port} is taken`));
});
