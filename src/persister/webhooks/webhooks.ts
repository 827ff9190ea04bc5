/** Runs everything about webhooks in the persister: announcing, fanning out, delivering, cleaning up, measuring. */
import type { Sql } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';
import { repeat } from '../loop.ts';
import type { PersisterMetrics } from '../metrics.ts';
import { Announcer } from './announce.ts';
import { Deliverer } from './deliverer.ts';
import { fanOut, MESSAGES_PER_FAN_OUT } from './fan-out.ts';
import { tidyUp } from './upkeep.ts';

const MEASURE_MS = 15_000;
/** Connections of the persister's pool, beside those of its writers. */
export const WEBHOOK_CONNECTIONS = 3;

/**
 * Resolves after the stop, once attempts in flight have ended. `activeSales` returns the sales that may have something
 * to announce since its last call.
 */
export async function runWebhooks(
  context: PersisterContext,
  activeSales: () => string[],
): Promise<void> {
  const { database, metrics } = context;
  const { pollMs, announceMs, upkeepMs } = context.timings.webhooks;
  const announcer = new Announcer(context, activeSales);
  const deliverer = new Deliverer(context);
  await Promise.all([
    deliverer.run(),
    repeat(context, 'fan out webhooks', pollMs, async () => {
      let moved: number;
      do {
        moved = await database.run(fanOut);
        if (moved > 0) deliverer.wake();
      } while (moved === MESSAGES_PER_FAN_OUT && !context.stopping.aborted);
    }),
    repeat(context, 'announce sales', announceMs, () => announcer.check()),
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
