/** Everything about webhooks that runs in the persister: announcing, delivering, tidying up, measuring. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { TargetRules } from '../../domain/webhook-target.ts';
import { pause } from '../../process/backoff.ts';
import type { Shards } from '../../redis/shards.ts';
import { type Database, StoppingError } from '../database/database.ts';
import { Announcer } from './announce.ts';
import { Deliverer } from './deliverer.ts';
import { createWebhookMetrics, measureWebhooks } from './metrics.ts';
import type { WebhookTimings } from './timings.ts';
import { tidyUp } from './upkeep.ts';

const MEASURE_MS = 15_000;
/** Of the persister's pool, beside what its writers need. */
export const WEBHOOK_CONNECTIONS = 2;

export interface WebhookContext {
  database: Database;
  shards: Shards;
  log: Logger;
  registry: Registry;
}

/** Resolves when stopping, once what was under way has ended. */
export async function runWebhooks(
  { database, shards, log, registry }: WebhookContext,
  options: { rules: TargetRules; timings: WebhookTimings; stopping: AbortSignal },
): Promise<void> {
  const { timings, stopping } = options;
  const metrics = createWebhookMetrics(registry);
  const deliverer = new Deliverer({ database, log, metrics }, options);
  const announcer = new Announcer({ database, shards, log, metrics });
  await Promise.all([
    deliverer.run(),
    repeat('announcing sales', timings.announceMs, () => announcer.look()),
    repeat('tidying up webhooks', timings.upkeepMs, () => tidyUp(database, metrics)),
    repeat('measuring webhooks', MEASURE_MS, () =>
      database.run((sql) => measureWebhooks(sql, metrics)),
    ),
  ]);

  /** A round that fails is reported and tried again with the next. */
  async function repeat(
    what: string,
    intervalMs: number,
    round: () => Promise<void>,
  ): Promise<void> {
    while (!stopping.aborted) {
      try {
        await round();
      } catch (error) {
        if (!(error instanceof StoppingError))
          log.warn({ err: error }, `${what} failed, trying again`);
      }
      await pause(intervalMs, stopping);
    }
  }
}
