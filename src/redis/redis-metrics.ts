/** What every process counts about the Redis servers that it uses. */
import { Counter, type Registry } from 'prom-client';

export interface RedisMetrics {
  stoppedFitting: () => void;
}

export function createRedisMetrics(registry: Registry): RedisMetrics {
  const unfit = new Counter({
    name: 'flash_sale_redis_unfit_total',
    help: 'Times a Redis server in use stopped meeting the requirements',
    registers: [registry],
  });
  return { stoppedFitting: () => unfit.inc() };
}
