/** Metrics of webhook deliveries: attempts and their outcomes, backlog, paused endpoints. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Sql } from '../../postgres/connection.ts';

export type WebhookMetrics = ReturnType<typeof createWebhookMetrics>;

export function createWebhookMetrics(registry: Registry) {
  const registers = [registry];
  const gauge = (name: string, help: string) =>
    new Gauge({ name: `flash_sale_persister_webhook_${name}`, help, registers });
  return {
    attempts: new Counter({
      name: 'flash_sale_persister_webhook_attempts_total',
      help: 'Delivery attempts, by outcome',
      labelNames: ['outcome'],
      registers,
    }),
    dead: new Counter({
      name: 'flash_sale_persister_webhook_dead_total',
      help: 'Deliveries given up',
      registers,
    }),
    seconds: new Histogram({
      name: 'flash_sale_persister_webhook_attempt_duration_seconds',
      help: 'One delivery attempt, whatever its outcome',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    announced: new Counter({
      name: 'flash_sale_persister_sale_announcements_total',
      help: 'Announced changes of sales, by event',
      labelNames: ['event'],
      registers,
    }),
    pending: gauge('pending', 'Pending deliveries to endpoints that are not disabled'),
    oldestSeconds: gauge('oldest_pending_seconds', 'Age of the oldest pending delivery'),
    paused: gauge('endpoints_paused', 'Endpoints that the circuit breaker has paused'),
    disabled: gauge('endpoints_disabled', 'Endpoints that responded 410 Gone'),
  };
}

export async function measureWebhooks(sql: Sql, metrics: WebhookMetrics): Promise<void> {
  const [row] = await sql<{ pending: number; oldest: number; paused: number; disabled: number }[]>`
    SELECT coalesce(sum(waiting.count), 0)::float8 AS pending,
      coalesce(extract(epoch FROM now() - min(waiting.oldest)), 0)::float8 AS oldest,
      (count(*) FILTER (WHERE status = 'active' AND paused_until IS NOT NULL))::int AS paused,
      (count(*) FILTER (WHERE status = 'disabled'))::int AS disabled
    FROM webhook_endpoints AS e LEFT JOIN LATERAL (
      SELECT count(*) AS count, min(created_at) AS oldest FROM webhook_deliveries AS d
      WHERE d.webhook_id = e.webhook_id AND d.state = 'pending' AND e.status = 'active'
    ) AS waiting ON true`;
  if (!row) return;
  metrics.pending.set(row.pending);
  metrics.oldestSeconds.set(row.oldest);
  metrics.paused.set(row.paused);
  metrics.disabled.set(row.disabled);
}
