/** Persisters inside the test's own process. They claim abandoned entries sooner than production ones. */
import { readPersisterConfig } from '../../src/config.ts';
import { type RunningPersister, startPersister } from '../../src/persister/main.ts';
import type { WebhookTimings } from '../../src/persister/timings.ts';
import { TIMINGS, type Timings } from '../../src/persister/timings.ts';
import { type Scope, use } from '../use.ts';
import { metric } from './metrics.ts';

export interface TestPersister extends RunningPersister {
  /** What `/readyz` reports as missing. */
  missing(): Promise<string[]>;
  /** Why, as `/readyz` reports it. */
  reasons(): Promise<string[]>;
  /** A metric by its name after `flash_sale_persister_`, summed over its samples. */
  metric(name: string): Promise<number>;
}

export async function usePersister(
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
    reasons: async () => {
      const body = (await (await get('/readyz')).json()) as { reasons?: string[] };
      return body.reasons ?? [];
    },
    metric: (name: string) => metric(running, `flash_sale_persister_${name}`),
  });
}

/**
 * Pauses and intervals are much shorter than in production. Time-out and lease are the same, so a slow machine fails no
 * attempt.
 */
const FAST_WEBHOOKS: WebhookTimings = {
  ...TIMINGS.webhooks,
  retryFirstMs: 40,
  retryMostMs: 300,
  pauseFirstMs: 200,
  pauseMostMs: 800,
  pollMs: 20,
  announceMs: 40,
  upkeepMs: 100,
};

/** A persister that delivers webhooks fast, and to the loopback interface unless `nodeEnv` is `production`. */
export function useWebhookPersister(
  scope: Scope,
  { redisUrl, databaseUrl }: { redisUrl: string; databaseUrl: string },
  choices: { nodeEnv?: string; webhooks?: Partial<WebhookTimings> } = {},
): Promise<TestPersister> {
  return usePersister(
    scope,
    redisUrl,
    databaseUrl,
    { webhooks: { ...FAST_WEBHOOKS, ...choices.webhooks } },
    { NODE_ENV: choices.nodeEnv ?? 'development' },
  );
}
