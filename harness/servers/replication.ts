/** A Redis master with replicas, and the operator's commands that change their roles. */
import assert from 'node:assert/strict';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { startRedis, type TestRedis, withRedis } from './redis.ts';

/** Arguments for a master and its replicas, so that they detect a sync or a loss within a second. */
export const PROMPT = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

/** A cluster ends an attempt after 5 s. Sentinels need some seconds more. */
const HAND_OVER_MS_MAX = 10_000;
const HAND_OVER_TRIES = 4;

export interface Replicated {
  master: TestRedis;
  replicas: TestRedis[];
  /** Stops all of them, also those that were killed. */
  stop(): Promise<void>;
}

export interface ReplicationChoices {
  replicas?: number;
  maxLagSeconds?: number;
  /** `min-replicas-to-write`; all replicas by default. */
  demanded?: number;
}

export function useReplicated(scope: Scope, choices: ReplicationChoices = {}): Promise<Replicated> {
  return use(scope, () => startReplicated(choices));
}

/** A master and its replicas. All get the same `min-replicas-to-write`, so a promoted replica requires as many. */
async function startReplicated(choices: ReplicationChoices = {}): Promise<Replicated> {
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

/** Waits until exactly `count` replicas are connected and have all earlier writes. */
export async function untilReplicasAre(master: TestRedis, count: number): Promise<void> {
  await withRedis(master.url, (redis) =>
    eventually(async () => {
      const info = await redis.info('replication');
      assert.match(info, new RegExp(`^connected_slaves:${count}\\r$`, 'm'));
      if (count === 0) return;
      await redis.set('written-before', '');
      assert.equal(await redis.wait(count, 1_000), count);
    }),
  );
}

/**
 * Requests that a replica becomes the master while the master is well, until `isDone` resolves. Soon after another election,
 * the masters of a cluster do not vote, and sentinels give up.
 */
export async function handOver(
  request: () => Promise<unknown>,
  isDone: () => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const refusal = await request().then(
      () => undefined,
      (error: unknown) => error,
    );
    try {
      // An attempt may be in progress although another one is refused.
      await eventually(isDone, { timeoutMs: HAND_OVER_MS_MAX });
      return;
    } catch (error) {
      if (attempt === HAND_OVER_TRIES) throw refusal ?? error;
    }
  }
}

/** Makes a server a replica of another, as an operator would. */
export async function follow(server: TestRedis, master: TestRedis): Promise<void> {
  await withRedis(server.url, (redis) => redis.replicaof('127.0.0.1', master.port));
}

export async function promote(server: TestRedis): Promise<void> {
  await withRedis(server.url, (redis) => redis.replicaof('NO', 'ONE'));
}
