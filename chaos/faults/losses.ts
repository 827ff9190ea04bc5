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
import type { DataLossKind } from './schedule.ts';

export interface Loss {
  kind: DataLossKind;
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
  const redis = new Redis(stack.redis.url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
  redis.on('error', () => undefined); // It is about to be killed.
  try {
    const reading = redis
      .multi()
      .xrange(saleKey(stack.endpoints.saleId, 'events'), '-', '+')
      .hmget(saleKey(stack.endpoints.saleId, 'sale'), 'position', 'events');
    if (kind === 'flush') reading.flushall();
    const atMs = nowMs();
    const replies = (await reading.exec())!;
    if (kind !== 'flush') {
      await stack.kill('redis');
      if (kind === 'lose-disk') await stack.loseRedisDisk();
      else await stack.loseRedisTail(TAIL_BYTES);
      await sleep(forMs);
      await stack.startAgain('redis');
    }
    const [entries, [position, event]] = replies.map(([, reply]) => reply) as [
      [string, string[]][],
      [string | null, string | null],
    ];
    const tail = entries.flatMap(([entryId, fields]) =>
      eventsOf(stack.endpoints.saleId, entryId, fields).map(
        ({ reservation }) => `${reservation.reservationId}#${reservation.version}`,
      ),
    );
    return {
      kind,
      atMs,
      overMs: nowMs(),
      tail: new Set(tail),
      position: Number(position ?? 0),
      event: Number(event ?? 0),
    };
  } finally {
    redis.disconnect();
  }
}
