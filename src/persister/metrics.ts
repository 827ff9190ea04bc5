/** The persister's metrics. They show how far behind it is, how fast it writes, and what failed. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type PersisterMetrics = ReturnType<typeof createPersisterMetrics>;

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
const RECOVERY_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120];
const SWEEP_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1];

export function createPersisterMetrics(registry: Registry) {
  const named = (name: string, help: string) => ({
    name: `flash_sale_${name}`,
    help,
    registers: [registry],
  });
  const counter = (name: string, help: string) => new Counter(named(name, help));
  const gaugePerSale = (name: string, help: string) =>
    new Gauge({ ...named(`persister_${name}`, help), labelNames: ['sale'] });
  const histogram = (name: string, help: string, buckets = SECONDS) =>
    new Histogram({ ...named(name, help), buckets });
  return {
    events: counter('persister_events_written_total', 'Events committed to PostgreSQL'),
    batches: counter('persister_batches_total', 'Transactions that committed events'),
    batchSeconds: histogram(
      'persister_batch_duration_seconds',
      'From reading a batch to committing it',
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
    recoverySeconds: new Histogram({
      ...named(
        'persister_recovery_duration_seconds',
        'From finding a sale closed to opening it again, by outcome',
      ),
      labelNames: ['outcome'],
      buckets: RECOVERY_SECONDS,
    }),
    lagEvents: gaugePerSale('lag_events', 'Events in Redis that PostgreSQL does not have'),
    lagSeconds: gaugePerSale(
      'lag_seconds',
      'Age of the oldest stream entry that PostgreSQL does not have',
    ),
    waitingEntries: gaugePerSale(
      'waiting_entries',
      'Entries in a format version that only another persister reads',
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
    notRecovered: new Gauge(
      named('persister_sales_not_recovered', 'Sales that stay closed until an operator acts'),
    ),
  };
}

/** Removes a deleted sale's gauges, which would otherwise keep their last values. */
export function forgetSale(metrics: PersisterMetrics, saleId: string): void {
  metrics.lagEvents.remove(saleId);
  metrics.lagSeconds.remove(saleId);
  metrics.waitingEntries.remove(saleId);
}
