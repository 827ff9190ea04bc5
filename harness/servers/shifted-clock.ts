/**
 * A Redis whose clock a test shifts, for the scripts of the test's own process. The clock of a machine cannot be set in a
 * test, and libfaketime does not work with Redis' allocator. So the scripts add an offset that Redis stores, and the replies
 * to `TIME` have it too.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../src/lua/buy/leave-waitlist.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { finishRebuild } from '../../src/lua/recover/finish-rebuild.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { type Scope, use } from '../use.ts';

const SCRIPTS: readonly { source: string; sha1: string }[] = [
  reserve,
  transition,
  sweep,
  joinWaitlist,
  leaveWaitlist,
  applyOperation,
  readBuyer,
  readSale,
  finishRebuild,
];
const CLOCK = 'time[1] * 1000 + math.floor(time[2] / 1000)';
const OFFSET_KEY = 'test:clock-offset-ms';

export interface ShiftedClock {
  /** Sets the clock to this many milliseconds ahead of the machine's. */
  set(offsetMs: number): Promise<void>;
}

/** One server; not a cluster. */
export function useShiftedClock(scope: Scope, shards: Shards): Promise<ShiftedClock> {
  const originals = SCRIPTS.map(({ source, sha1 }) => ({ source, sha1 }));
  let offset = 0;
  return use(
    scope,
    () => {
      for (const script of SCRIPTS) {
        assert.ok(script.source.includes(CLOCK));
        script.source = script.source.replace(
          CLOCK,
          `${CLOCK} + tonumber(redis.call('GET', '${OFFSET_KEY}') or 0)`,
        );
        script.sha1 = createHash('sha1').update(script.source).digest('hex');
      }
      Redis.prototype.time = async function (this: Redis) {
        const [seconds, microseconds] = (await this.call('TIME')) as [string, string];
        return [Number(seconds) + offset / 1_000, Number(microseconds)];
      };
      return {
        set: async (offsetMs: number) => {
          offset = offsetMs;
          await shards.of('any').client.set(OFFSET_KEY, offsetMs);
        },
      };
    },
    () => {
      // The inherited one returns.
      Reflect.deleteProperty(Redis.prototype, 'time');
      for (const [index, original] of originals.entries()) Object.assign(SCRIPTS[index]!, original);
    },
  );
}
