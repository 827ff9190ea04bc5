/** Replicas of a test's Redis, and sentinels that promote one: real ones, ended like any other server of a test. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedisServer } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { ServerProcess } from './server-process.ts';
import { answersPing, startRedis, type TestRedis } from './servers.ts';

/** What a master and whoever may become one is started with, so that a sync and a loss are noticed within a second. */
export const PROMPT = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

export interface Replicated {
  master: TestRedis;
  replicas: TestRedis[];
  /** Also of those that were killed meanwhile. */
  stop(): Promise<void>;
}

/** A master that writes only with all of its replicas, and those. A replica that was promoted demands as much. */
export async function startReplicated(
  choices: { replicas?: number; maxLagSeconds?: number; demanded?: number } = {},
): Promise<Replicated> {
  const { replicas: count = 1, maxLagSeconds = 10, demanded = count } = choices;
  const args = [
    ...PROMPT,
    '--min-replicas-to-write',
    String(demanded),
    '--min-replicas-max-lag',
    String(maxLagSeconds),
  ];
  const master = await startRedis({ args });
  const servers = [master];
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    for (let i = 0; i < count; i++) {
      const replicaOf = ['--replicaof', '127.0.0.1', String(master.port)];
      servers.push(await startRedis({ args: [...args, ...replicaOf] }));
    }
    await untilReplicasAre(master, count);
  } catch (error) {
    await stop();
    throw error;
  }
  return { master, replicas: servers.slice(1), stop };
}

/** Until so many replicas, and no more, have all that was written before. */
export async function untilReplicasAre(master: TestRedis, count: number): Promise<void> {
  await using(master.url, (redis) =>
    eventually(async () => {
      const info = await redis.info('replication');
      assert.match(info, new RegExp(`^connected_slaves:${count}\\r$`, 'm'));
      if (count === 0) return;
      await redis.set('written-before', '');
      assert.equal(await redis.wait(count, 1_000), count);
    }),
  );
}

/** As an operator would by hand. */
export async function follow(server: TestRedis, master: TestRedis): Promise<void> {
  await using(server.url, (redis) => redis.replicaof('127.0.0.1', master.port));
}

export async function promote(server: TestRedis): Promise<void> {
  await using(server.url, (redis) => redis.replicaof('NO', 'ONE'));
}

/** Asks one server something, over a connection that lasts no longer. */
export async function using<T>(url: string, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  redis.on('error', () => undefined); // What is asked fails by itself.
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}

export interface Sentinels {
  /** For `REDIS_URL`. */
  url: string;
  /** Where they say that the master is. */
  masterPort(): Promise<number>;
  stop(): Promise<void>;
}

const MASTER_NAME = 'sale';
const QUORUM = 2;

/** Three, who give a silent master up after `downAfterMs`. */
export async function startSentinels(
  master: TestRedis,
  choices: { downAfterMs?: number } = {},
): Promise<Sentinels> {
  const server = findRedisServer();
  if (!server) throw new Error('redis-server is not on this machine; npm test installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-sentinels-'));
  const ports = await findFreePorts(3);
  const sentinels = await Promise.all(
    ports.map((port) => {
      const configuration = join(directory, `${port}.conf`);
      writeFileSync(
        configuration,
        [
          `port ${port}`,
          'bind 127.0.0.1',
          `dir ${directory}`,
          `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} ${QUORUM}`,
          `sentinel down-after-milliseconds ${MASTER_NAME} ${choices.downAfterMs ?? 1_000}`,
          `sentinel failover-timeout ${MASTER_NAME} 10000`,
          '',
        ].join('\n'),
      );
      return ServerProcess.start({
        command: server.path,
        args: [configuration, '--sentinel'],
        stopSignal: 'SIGTERM',
        isReady: () => answersPing(port),
      });
    }),
  );
  const stop = async () => {
    await Promise.all(sentinels.map((sentinel) => sentinel.stop()));
    rmSync(directory, { recursive: true, force: true });
  };
  const ask = <T>(port: number, question: (sentinel: Redis) => Promise<T>) =>
    using(`redis://127.0.0.1:${port}`, question);
  try {
    for (const port of ports) {
      await ask(port, (sentinel) =>
        eventually(
          async () => {
            const known = (await sentinel.call('SENTINEL', 'CKQUORUM', MASTER_NAME)) as string;
            assert.match(known, /^OK 3 usable/);
            const replicas = (await sentinel.call(
              'SENTINEL',
              'REPLICAS',
              MASTER_NAME,
            )) as unknown[];
            assert.ok(replicas.length > 0);
          },
          { timeoutMs: 20_000 },
        ),
      );
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const [first, ...others] = ports.map((port) => `127.0.0.1:${port}`);
  return {
    url: [
      `redis+sentinel://${first}/${MASTER_NAME}`,
      ...others.map((host) => `redis+sentinel://${host}`),
    ].join(','),
    masterPort: () =>
      ask(ports[0]!, async (sentinel) => {
        const address = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME);
        return Number((address as string[])[1]);
      }),
    stop,
  };
}
