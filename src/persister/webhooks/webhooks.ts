/** Runs everything about webhooks in the persister: announcing, delivering, cleaning up, measuring. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { TargetRules } from '../../domain/webhook-target.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Database } from '../database/database.ts';
import { repeat } from '../loop.ts';
import type { WebhookTimings } from '../timings.ts';
import { Announcer } from './announce.ts';
import { Deliverer } from './deliverer.ts';
import { createWebhookMetrics, measureWebhooks } from './metrics.ts';
import { tidyUp } from './upkeep.ts';

const MEASURE_MS = 15_000;
/** Connections of the persister's pool, beside those of its writers. */
export const WEBHOOK_CONNECTIONS = 2;

export interface WebhookContext {
  database: Database;
  shards: Shards;
  log: Logger;
  registry: Registry;
}

/** Resolves after the stop, once attempts in flight have ended. */
export async function runWebhooks(
  { database, shards, log, registry }: WebhookContext,
  options: { rules: TargetRules; timings: WebhookTimings; stopping: AbortSignal },
): Promise<void> {
  const { timings, stopping } = options;
  const metrics = createWebhookMetrics(registry);
  const deliverer = new Deliverer({ database, log, metrics }, options);
  const announcer = new Announcer({ database, shards, log, metrics });
  const every = (intervalMs: number) => ({ intervalMs, log, stopping });
  await Promise.all([
    deliverer.run(),
    repeat('announce sales', every(timings.announceMs), () => announcer.checkSales()),
    repeat('clean up webhooks', every(timings.upkeepMs), () => tidyUp(database, metrics)),
    repeat('measure webhooks', every(MEASURE_MS), () =>
      database.run((sql) => measureWebhooks(sql, metrics)),
    ),
  ]);
}
