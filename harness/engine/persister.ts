/** Persisters inside the test's own process, quicker to take over what others left than real ones. */
import { readPersisterConfig } from '../../src/config.ts';
import { type RunningPersister, startPersister } from '../../src/persister/main.ts';
import { TIMINGS, type Timings } from '../../src/persister/timings.ts';
import { type Scope, use } from '../use.ts';
import { metric } from './metric.ts';

export interface TestPersister extends RunningPersister {
  /** What `/readyz` says is missing. */
  missing(): Promise<string[]>;
  /** The sum of a metric's samples. */
  metric(name: string): Promise<number>;
}

export async function persister(
  scope: Scope,
  redisUrl: string,
  databaseUrl: string,
  timings: Partial<Timings> = {},
  environment: Record<string, string> = {},
): Promise<TestPersister> {
  const config = readPersisterConfig({
    REDIS_URL: redisUrl,
    DATABASE_URL: databaseUrl,
    PERSISTER_PORT: '0',
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
    ...environment,
  });
  const running = await use(scope, () =>
    startPersister(config, { ...TIMINGS, restMs: 200, ...timings }),
  );
  const get = (path: string) => fetch(`http://127.0.0.1:${running.port}${path}`);
  return Object.assign(running, {
    missing: async () => {
      const body = (await (await get('/readyz')).json()) as { missing: string[] };
      return body.missing;
    },
    metric: (name: string) => metric(running, `flash_sale_persister_${name}`),
  });
}
