/**
 * What the user of a connection must be allowed (Redis' ACL) before a script is run by it. A command that is refused in
 * the middle of a script leaves what was written before it, so this is asked for at the start. What processes ask for
 * beside their scripts is not looked at: it fails whole, and says so.
 */
import type { Redis } from 'ioredis';
import { CHANGED_CHANNEL, liveChannel, saleKey } from '../lua/keys.ts';

const KEY = saleKey('any', 'sale');

/** One example of each command in src/lua, of what runs them, and of each channel. */
export const NEEDED: readonly (readonly [command: string, ...args: string[]])[] = [
  ['EVAL', 'return 1', '1', KEY],
  ['EVALSHA', '-', '1', KEY],
  ['DEL', KEY],
  ['EXISTS', KEY],
  ['HDEL', KEY, '-'],
  ['HGET', KEY, '-'],
  ['HGETALL', KEY],
  ['HMGET', KEY, '-'],
  ['HSET', KEY, '-', '-'],
  ['INFO', 'replication'],
  ['LINDEX', KEY, '0'],
  ['LRANGE', KEY, '0', '0'],
  ['RENAME', KEY, KEY],
  ['RPUSH', KEY, '-'],
  ['TIME'],
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
  ['ZLEXCOUNT', KEY, '-', '+'],
  ['ZRANGE', KEY, '0', '0'],
  ['ZRANGEBYLEX', KEY, '-', '+'],
  ['ZRANGEBYSCORE', KEY, '0', '0'],
  ['ZREM', KEY, '-'],
  ['PUBLISH', CHANGED_CHANNEL, '-'],
  ['PUBLISH', liveChannel('any'), '-'],
  ['SUBSCRIBE', CHANGED_CHANNEL],
  ['SUBSCRIBE', liveChannel('any')],
];

/** Asked by a script, which needs no permission that the engine does not need anyway; `ACL DRYRUN` would. */
const ASK = `#!lua flags=no-writes,allow-stale
local refused = {}
for _, needed in ipairs(cjson.decode(ARGV[1])) do
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(needed))
  if not (is_known and is_allowed) then refused[#refused + 1] = needed[1] end
end
return refused`;

/** The commands that are refused, some for their key or channel. */
export async function refusedCommands(redis: Redis): Promise<string[]> {
  try {
    return [...new Set((await redis.eval(ASK, 0, JSON.stringify(NEEDED))) as string[])];
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('NOPERM')) return ['EVAL'];
    throw error;
  }
}
