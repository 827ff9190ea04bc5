/** What every process counts about the Redis servers that it uses. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ClockEvent } from './clock-watch.ts';

export interface RedisMetrics {
  stoppedFitting: () => void;
  clockEvent: (event: ClockEvent) => void;
}

/** `durability`: the profile whose requirements the servers must meet. */
export function createRedisMetrics(registry: Registry, durability: string): RedisMetrics {
  const info = new Gauge({
    name: 'flash_sale_durability_info',
    help: 'The durability profile of this process, as a label; always 1',
    labelNames: ['durability'],
    aggregator: 'max',
    registers: [registry],
  });
  info.set({ durability }, 1);
  const unfit = new Counter({
    name: 'flash_sale_redis_unfit_total',
    help: 'Times a Redis server in use stopped meeting the requirements',
    registers: [registry],
  });
  const clock = new Counter({
    name: 'flash_sale_clock_jumps_total',
    help: "Times a Redis server's clock jumped, or began to differ from this process' clock, by more than a second",
    labelNames: ['kind'],
    registers: [registry],
  });
  for (const kind of ['jump', 'difference'] satisfies ClockEvent[]) clock.inc({ kind }, 0);
  return { stoppedFitting: () => unfit.inc(), clockEvent: (kind) => clock.inc({ kind }) };
}
