/**
 * A conventional design: one Redis script per request, sent with ioredis' autopipelining. If ORDERS is `durable`, it
 * also awaits one INSERT per order before the response.
 */
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { orderTable, POOL_SIZE, rowOf, runShop } from './shop.ts';

/** Decrements the stock and records the buyer, so that a repeated request gets the first result. */
const DECIDE = `
local seen = redis.call('HGET', KEYS[2], ARGV[1])
if seen then return seen end
local remaining = tonumber(redis.call('GET', KEYS[1]) or 0)
if remaining < tonumber(ARGV[2]) then return 'sold_out' end
redis.call('DECRBY', KEYS[1], ARGV[2])
local time = redis.call('TIME')
local position = redis.call('INCR', KEYS[3])
local order = string.format('%d %d%03d', position, time[1], math.floor(time[2] / 1000))
redis.call('HSET', KEYS[2], ARGV[1], order)
return order`;

type DecidingRedis = Redis & {
  decide(...keysAndArguments: (string | number)[]): Promise<string>;
};

const TABLE = 'conventional_orders';

await runShop(async () => {
  const redis = new Redis(process.env.REDIS_URL!, { enableAutoPipelining: true });
  redis.defineCommand('decide', { numberOfKeys: 3, lua: DECIDE });
  const isDurable = process.env.ORDERS === 'durable';
  const sql = postgres(process.env.DATABASE_URL!, { max: POOL_SIZE, onnotice: () => undefined });
  if (isDurable) await orderTable(sql, TABLE);
  return {
    async decide(order) {
      const { saleId, buyerId, key, quantity } = order;
      const keys = ['stock', 'orders', 'position'].map(
        (name) => `conventional:{${saleId}}:${name}`,
      );
      const reply = await (redis as DecidingRedis).decide(...keys, `${buyerId} ${key}`, quantity);
      if (reply === 'sold_out') return 'sold_out';
      const [position, reservedAt] = reply.split(' ').map(Number) as [number, number];
      const decided = { position, reservedAt };
      if (isDurable) {
        await sql`INSERT INTO ${sql(TABLE)} ${sql(rowOf(order, decided))} ON CONFLICT DO NOTHING`;
      }
      return decided;
    },
    async close() {
      redis.disconnect();
      await sql.end({ timeout: 2 });
    },
  };
});
