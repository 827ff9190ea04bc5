/** The persister's metrics. They show how far behind it is, how fast it writes and delivers, and what failed. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { ARCHIVE_OBSTACLES } from '../archive/archive-sale.ts';

export type PersisterMetrics = ReturnType<typeof createPersisterMetrics>;

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
const ATTEMPT_SECONDS = SECONDS.slice(0, -1);
const RECOVERY_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120];
const SWEEP_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1];

export function createPersisterMetrics(registry: Registry) {
  const named = <L extends string>(name: string, help: string, labelNames: L[]) => ({
    name: `flash_sale_${name}`,
    help,
    labelNames,
    registers: [registry],
  });
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter(named(name, help, labelNames));
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Gauge(named(`persister_${name}`, help, labelNames));
  const histogram = <L extends string>(
    name: string,
    help: string,
    buckets = SECONDS,
    ...labelNames: L[]
  ) => new Histogram({ ...named(name, help, labelNames), buckets });
  const archiveAttempts = counter(
    'persister_archive_attempts_total',
    'Attempts to archive a sale, by outcome: archived, or why not',
    'outcome',
  );
  // An increase from nothing would not count as one.
  for (const outcome of ['archived', 'unavailable', ...Object.keys(ARCHIVE_OBSTACLES)])
    archiveAttempts.inc({ outcome }, 0);
  return {
    events: counter('persister_events_written_total', 'Events committed to PostgreSQL'),
    batches: counter('persister_batches_total', 'Transactions that committed events'),
    batchSeconds: histogram(
      'persister_batch_duration_seconds',
      'From a parsed write batch to its acknowledgement',
    ),
    deadLetters: counter(
      'persister_dead_letters_total',
      'Events and entries that became dead letters',
    ),
    outages: counter('persister_postgres_outages_total', 'Times PostgreSQL became unavailable'),
    failures: counter(
      'persister_postgres_failures_total',
      'Attempts that PostgreSQL failed, except for errors in the data',
    ),
    trims: counter('persister_trims_total', 'Trims of a stream'),
    claimed: counter('persister_entries_claimed_total', 'Entries taken over from other consumers'),
    damages: counter('persister_damages_total', 'Times a sale in Redis was found damaged'),
    recoverySeconds: histogram(
      'persister_recovery_duration_seconds',
      'From finding a sale closed to opening it again, by outcome',
      RECOVERY_SECONDS,
      'outcome',
    ),
    lagEvents: gauge('lag_events', 'Events in Redis that PostgreSQL does not have', 'sale'),
    lagSeconds: gauge(
      'lag_seconds',
      'Age of the oldest stream entry that PostgreSQL does not have',
      'sale',
    ),
    waitingEntries: gauge(
      'waiting_entries',
      'Entries in a format version that only another persister reads',
      'sale',
    ),
    expired: counter('expired_total', 'Holds that expired and returned their units'),
    served: counter('served_total', 'Reservations that the sweep made for the waitlist'),
    expiryDelaySeconds: histogram(
      'expiry_delay_seconds',
      'From the deadline of the oldest hold in a sweep until it was ended',
    ),
    sweepSeconds: histogram(
      'persister_sweep_duration_seconds',
      'One call of the sweep script, as the persister sees it',
      SWEEP_SECONDS,
    ),
    archiveAttempts,
    notRecovered: gauge('sales_not_recovered', 'Sales that stay closed until an operator acts'),
    announced: counter(
      'persister_sale_announcements_total',
      'Announced changes of sales, by event',
      'event',
    ),
    attempts: counter(
      'persister_webhook_attempts_total',
      'Delivery attempts, by outcome',
      'outcome',
    ),
    attemptSeconds: histogram(
      'persister_webhook_attempt_duration_seconds',
      'One delivery attempt, whatever its outcome',
      ATTEMPT_SECONDS,
    ),
    deadDeliveries: counter('persister_webhook_dead_total', 'Deliveries given up'),
    pendingDeliveries: gauge(
      'webhook_pending',
      'Pending deliveries to endpoints that are not disabled',
    ),
    oldestSeconds: gauge('webhook_oldest_pending_seconds', 'Age of the oldest pending delivery'),
    paused: gauge('webhook_endpoints_paused', 'Endpoints that the circuit breaker has paused'),
    disabled: gauge('webhook_endpoints_disabled', 'Endpoints that responded 410 Gone'),
  };
}

/** Removes a deleted sale's gauges, which would otherwise keep their last values. */
export function forgetSale(metrics: PersisterMetrics, saleId: string): void {
  metrics.lagEvents.remove(saleId);
  metrics.lagSeconds.remove(saleId);
  metrics.waitingEntries.remove(saleId);
}
