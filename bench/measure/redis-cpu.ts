/** What a Redis server did between two moments, by its own account. */
import type { Redis } from 'ioredis';

export interface RedisUsage {
  /** Of the thread that runs commands. */
  cpuSeconds: number;
  /** In scripts, of the same time. */
  scriptSeconds: number;
  scriptCalls: number;
}

/** Begins to count; the function that it returns tells what it was since. */
export async function measureRedis(client: Redis): Promise<() => Promise<RedisUsage>> {
  await client.config('RESETSTAT');
  const before = await cpuOf(client);
  return async () => {
    const cpuSeconds = (await cpuOf(client)) - before;
    const stats = await client.info('commandstats');
    let [scriptCalls, scriptUs] = [0, 0];
    for (const [, calls, us] of stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)/gm)) {
      scriptCalls += Number(calls);
      scriptUs += Number(us);
    }
    return { cpuSeconds, scriptSeconds: scriptUs / 1e6, scriptCalls };
  };
}

async function cpuOf(client: Redis): Promise<number> {
  const info = await client.info('cpu');
  const field = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  return field('used_cpu_user_main_thread') + field('used_cpu_sys_main_thread');
}
