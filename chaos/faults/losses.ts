/**
 * Makes Redis lose data, and records just before which decisions only Redis had. A loss may take these and nothing
 * more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { saleKey } from '../../src/lua/keys.ts';
import { eventsOf } from '../../src/persister/stream/entries.ts';
import { nowMs } from '../clients/history.ts';
import type { ChaosStack } from '../stack.ts';
import type { DataLossKind, PlannedFault } from './schedule.ts';

export interface Loss {
  /** `failover`: a replica that lacks decisions became the master. */
  kind: DataLossKind | 'failover';
  /** From here on, earlier decisions may be gone. */
  atMs: number;
  /** When Redis was back, without the data. */
  overMs: number;
  /** `reservationId#version` of the events in the stream: not drained yet, or drained and not trimmed yet. */
  tail: ReadonlySet<string>;
  /** Decisions after this reading have numbers beyond these. */
  position: number;
  event: number;
}

/** Of the append-only file. A decision takes about a hundred bytes. */
const TAIL_BYTES = 8_192;

export async function loseRedisData(
  kind: DataLossKind,
  stack: ChaosStack,
  forMs: number,
): Promise<Loss> {
  const { url, name } = await stack.redis.master();
  const reading = await readDecisions(url, stack.endpoints.saleId, kind === 'flush');
  if (kind !== 'flush') {
    await stack.kill(name);
    if (kind === 'lose-disk') await stack.loseRedisDisk();
    else await stack.loseRedisTail(TAIL_BYTES);
    await sleep(forMs);
    await stack.startAgain(name);
  }
  return { kind, ...reading, overMs: nowMs() };
}

/**
 * Under `fast`, servers that replicate may lose what they have decided when a master is replaced. Records the loss that a
 * fault of Redis may cause, until one master is left.
 */
export async function withLossOfFailover<Result extends { loss?: Loss }>(
  { target }: PlannedFault,
  stack: ChaosStack,
  inject: () => Promise<Result>,
): Promise<Result> {
  const { redis, durability, endpoints } = stack;
  if (durability !== 'fast' || redis.servers.length === 1 || !target.startsWith('redis'))
    return inject();
  const { url } = await redis.master();
  const reading = await readDecisions(url, endpoints.saleId, false);
  const injected = await inject();
  // The run reports a sale that does not come to rest.
  await redis.untilSettled().catch(() => undefined);
  return { ...injected, loss: { kind: 'failover', ...reading, overMs: nowMs() } };
}

/** What Redis has now and PostgreSQL may lack. `flushes`: and flushes Redis in the same step. */
async function readDecisions(
  url: string,
  saleId: string,
  flushes: boolean,
): Promise<Pick<Loss, 'atMs' | 'tail' | 'position' | 'event'>> {
  const redis = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
  redis.on('error', () => undefined); // It is about to be killed.
  try {
    const reading = redis
      .multi()
      .xrange(saleKey(saleId, 'events'), '-', '+')
      .hmget(saleKey(saleId, 'sale'), 'position', 'events');
    if (flushes) reading.flushall();
    const atMs = nowMs();
    const replies = (await reading.exec())!;
    const [entries, [position, event]] = replies.map(([, reply]) => reply) as [
      [string, string[]][],
      [string | null, string | null],
    ];
    const tail = entries.flatMap(([entryId, fields]) =>
      eventsOf(saleId, entryId, fields).map(
        ({ reservation }) => `${reservation.reservationId}#${reservation.version}`,
      ),
    );
    return {
      atMs,
      tail: new Set(tail),
      position: Number(position ?? 0),
      event: Number(event ?? 0),
    };
  } finally {
    redis.disconnect();
  }
}
