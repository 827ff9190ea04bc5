/** Three real Redis Sentinels that watch a master and promote a replica when it fails. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { redisCommand, repliesToPing, type TestRedis, withRedis } from './redis.ts';
import { ServerProcess } from './server-process.ts';

export interface Sentinels {
  /** For `REDIS_URL`. */
  url: string;
  ports: readonly number[];
  /** The port of the master that the sentinels name. */
  masterPort(): Promise<number>;
  /** Makes them promote a replica while the master is well, as an operator does by `SENTINEL FAILOVER`. */
  handOver(): Promise<void>;
  stop(): Promise<void>;
}

const MASTER_NAME = 'sale';
const QUORUM = 2;
const DOWN_AFTER_MS = 1_000;
/** After a failed attempt, the next one follows after twice this time. */
const FAILOVER_TIMEOUT_MS = 3_000;

export interface SentinelChoices {
  /** Where the sentinels find the master. */
  port: number;
  /** The server's program; the machine's Redis by default. */
  command?: string | undefined;
  /** How long a master may be unresponsive before the sentinels replace it; a second by default. */
  downAfterMs?: number;
}

export function useSentinels(
  scope: Scope,
  master: TestRedis,
  choices: Pick<SentinelChoices, 'downAfterMs'> = {},
): Promise<Sentinels> {
  return use(scope, () => startSentinels({ port: master.port, ...choices }));
}

export async function startSentinels({
  port: masterPort,
  command,
  downAfterMs = DOWN_AFTER_MS,
}: SentinelChoices): Promise<Sentinels> {
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
          `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${masterPort} ${QUORUM}`,
          `sentinel down-after-milliseconds ${MASTER_NAME} ${downAfterMs}`,
          `sentinel failover-timeout ${MASTER_NAME} ${FAILOVER_TIMEOUT_MS}`,
          '',
        ].join('\n'),
      );
      return ServerProcess.start({
        command: command ?? redisCommand(),
        args: [configuration, '--sentinel'],
        stopSignal: 'SIGTERM',
        isReady: () => repliesToPing(port),
      });
    }),
  );
  const stop = async () => {
    await Promise.all(sentinels.map((sentinel) => sentinel.stop()));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await Promise.all(ports.map((port) => withSentinel(port, untilFailoverIsPossible)));
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
    ports,
    masterPort: () =>
      withSentinel(ports[0]!, async (sentinel) => {
        const address = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME);
        return Number((address as string[])[1]);
      }),
    handOver: () =>
      withSentinel(ports[0]!, async (sentinel) => {
        assert.equal(await sentinel.call('SENTINEL', 'FAILOVER', MASTER_NAME), 'OK');
      }),
    stop,
  };
}

function withSentinel<T>(port: number, run: (sentinel: Redis) => Promise<T>): Promise<T> {
  return withRedis(`redis://127.0.0.1:${port}`, run);
}

/** Waits until a sentinel has found both others and a replica to promote. */
async function untilFailoverIsPossible(sentinel: Redis): Promise<void> {
  await eventually(
    async () => {
      const quorum = (await sentinel.call('SENTINEL', 'CKQUORUM', MASTER_NAME)) as string;
      assert.match(quorum, /^OK 3 usable/);
      const replicas = (await sentinel.call('SENTINEL', 'REPLICAS', MASTER_NAME)) as unknown[];
      assert.ok(replicas.length > 0);
    },
    { timeoutMs: 20_000 },
  );
}
