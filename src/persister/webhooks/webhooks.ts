/** Runs everything about webhooks in the persister: announcing, delivering, cleaning up, measuring. */
import type { Sql } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';
import { repeat } from '../loop.ts';
import type { PersisterMetrics } from '../metrics.ts';
import { announceSales } from './announce.ts';
import { Deliverer } from './deliverer.ts';
import { tidyUp } from './upkeep.ts';

const MEASURE_MS = 15_000;
/** Connections of the persister's pool, beside those of its writers. */
export const WEBHOOK_CONNECTIONS = 2;

/** Resolves after the stop, once attempts in flight have ended. */
export async function runWebhooks(context: PersisterContext): Promise<void> {
  const { database, metrics } = context;
  const { announceMs, upkeepMs } = context.timings.webhooks;
  await Promise.all([
    new Deliverer(context).run(),
    repeat(context, 'announce sales', announceMs, () => announceSales(context)),
    repeat(context, 'clean up webhooks', upkeepMs, () => tidyUp(context)),
    repeat(context, 'measure webhooks', MEASURE_MS, () =>
      database.run((sql) => measure(sql, metrics)),
    ),
  ]);
}

async function measure(sql: Sql, metrics: PersisterMetrics): Promise<void> {
  const [row] = await sql<{ pending: number; oldest: number; paused: number; disabled: number }[]>`
    SELECT coalesce(sum(waiting.count), 0)::float8 AS pending,
      coalesce(extract(epoch FROM now() - min(waiting.oldest)), 0)::float8 AS oldest,
      (count(*) FILTER (WHERE status = 'active' AND paused_until IS NOT NULL))::int AS paused,
      (count(*) FILTER (WHERE status = 'disabled'))::int AS disabled
    FROM webhook_endpoints AS e LEFT JOIN LATERAL (
      SELECT count(*) AS count, min(created_at) AS oldest FROM webhook_deliveries AS d
      WHERE d.webhook_id = e.webhook_id AND d.state = 'pending' AND e.status = 'active'
    ) AS waiting ON true`;
  metrics.pendingDeliveries.set(row!.pending);
  metrics.oldestSeconds.set(row!.oldest);
  metrics.paused.set(row!.paused);
  metrics.disabled.set(row!.disabled);
}
