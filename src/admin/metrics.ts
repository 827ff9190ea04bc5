/** The admin's metrics: its requests, failed verifications, and changes that are not applied yet. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { CATALOGUE } from '../verify/catalogue.ts';

export type AdminMetrics = ReturnType<typeof createAdminMetrics>;

export function createAdminMetrics(registry: Registry) {
  const registers = [registry];
  const failedChecks = new Counter({
    name: 'flash_sale_failed_checks_total',
    help: 'Checks of verifications that failed, by check; any increase is an alarm',
    labelNames: ['check'],
    registers,
  });
  // An increase from nothing would not count as one.
  for (const check of Object.keys(CATALOGUE)) failedChecks.inc({ check }, 0);
  return {
    registry,
    failedChecks,
    requestSeconds: new Histogram({
      name: 'flash_sale_admin_http_request_seconds',
      help: 'Time from request to response, by route and status',
      labelNames: ['method', 'route', 'status'],
      registers,
    }),
    pendingSales: new Gauge({
      name: 'flash_sale_admin_sales_with_pending_operations',
      help: 'Sales with recorded operations that are not applied to Redis yet, at most 100',
      registers,
    }),
  };
}
