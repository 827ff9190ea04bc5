/**
 * The ACL permissions that scripts need, checked at start: a command that Redis rejects in the middle of a script would
 * leave a decision half written. Commands outside scripts are not checked; they fail as a whole, with a clear error.
 */
import type { Redis } from 'ioredis';
import {
  CHANGED_CHANNEL,
  liveChannel,
  MISSED_CHANNEL,
  saleKey,
  WORK_CHANNEL,
  winnersChannel,
} from '../lua/keys.ts';

const KEY = saleKey('any', 'sale');

/** One example of each command in src/lua, of each command that runs scripts, and of each channel. */
export const NEEDED: readonly (readonly [command: string, ...args: string[]])[] = [
  ['EVAL', 'return 1', '1', KEY],
  ['EVALSHA', '-', '1', KEY],
  ['DEL', KEY],
  ['EXISTS', KEY],
  ['HDEL', KEY, '-'],
  ['HGET', KEY, '-'],
  ['HGETALL', KEY],
  ['HLEN', KEY],
  ['HMGET', KEY, '-'],
  ['HSET', KEY, '-', '-'],
  ['INFO', 'replication'],
  ['LINDEX', KEY, '0'],
  ['LRANGE', KEY, '0', '0'],
  ['RENAME', KEY, KEY],
  ['RPUSH', KEY, '-'],
  ['TIME'],
  ['TYPE', KEY],
  ['UNLINK', KEY],
  ['XADD', KEY, '*', '-', '-'],
  ['XGROUP', 'CREATE', KEY, '-', '0'],
  ['XGROUP', 'DELCONSUMER', KEY, '-', '-'],
  ['XINFO', 'CONSUMERS', KEY, '-'],
  ['XINFO', 'GROUPS', KEY],
  ['XLEN', KEY],
  ['XPENDING', KEY, '-'],
  ['XRANGE', KEY, '-', '+'],
  ['XTRIM', KEY, 'MINID', '0'],
  ['ZADD', KEY, '0', '-'],
  ['ZCARD', KEY],
  ['ZLEXCOUNT', KEY, '-', '+'],
  ['ZRANGE', KEY, '0', '0'],
  ['ZRANGEBYLEX', KEY, '-', '+'],
  ['ZRANGEBYSCORE', KEY, '0', '0'],
  ['ZREM', KEY, '-'],
  ['PUBLISH', CHANGED_CHANNEL, '-'],
  ['PUBLISH', WORK_CHANNEL, '-'],
  ['PUBLISH', MISSED_CHANNEL, '-'],
  ['PUBLISH', liveChannel('any'), '-'],
  ['PUBLISH', winnersChannel('any'), '-'],
  ['SUBSCRIBE', CHANGED_CHANNEL],
  ['SUBSCRIBE', WORK_CHANNEL],
  ['SUBSCRIBE', MISSED_CHANNEL],
  ['SUBSCRIBE', liveChannel('any')],
  ['SUBSCRIBE', winnersChannel('any')],
];

/** The same for the counters of processes, see counters/counter-keys.ts. Without them, the engine works as well. */
const COUNTER_KEY = 'fs:process:{0}:any';
export const COUNTERS_NEEDED: typeof NEEDED = [
  ['SET', COUNTER_KEY, '-', 'PX', '1'],
  ['MGET', COUNTER_KEY],
  ['DEL', COUNTER_KEY],
  ['EXISTS', COUNTER_KEY],
  ['PEXPIRE', COUNTER_KEY, '1'],
  ['ZADD', COUNTER_KEY, '0', '-'],
  ['ZREVRANGE', COUNTER_KEY, '0', '0'],
  ['ZREM', COUNTER_KEY, '-'],
  ['ZREMRANGEBYSCORE', COUNTER_KEY, '0', '0'],
];

/** A script, because `ACL DRYRUN` would need a further permission. */
const ASK = `#!lua flags=no-writes,allow-stale
local refused = {}
for _, needed in ipairs(cjson.decode(ARGV[1])) do
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(needed))
  if not (is_known and is_allowed) then refused[#refused + 1] = needed[1] end
end
return refused`;

/** The rejected commands; Redis may reject the command itself, its key or its channel. */
export async function refusedCommands(redis: Redis, needed = NEEDED): Promise<string[]> {
  try {
    return [...new Set((await redis.eval(ASK, 0, JSON.stringify(needed))) as string[])];
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('NOPERM')) return ['EVAL'];
    throw error;
  }
}
