/** The CPU time and script calls of a Redis server between two moments, from INFO. */
import type { Redis } from 'ioredis';

export interface RedisUsage {
  /** Of the main thread. */
  cpuSeconds: number;
  /** The part of it spent in scripts. */
  scriptSeconds: number;
  scriptCalls: number;
}

/** Starts to count. The returned function ends it. */
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
