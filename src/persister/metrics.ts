/** What the persister counts, for the three questions of an operator: how far behind, how fast, what went wrong. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type PersisterMetrics = ReturnType<typeof createPersisterMetrics>;

export function createPersisterMetrics(registry: Registry) {
  const registers = [registry];
  const counter = (name: string, help: string) =>
    new Counter({ name: `flash_sale_persister_${name}`, help, registers });
  const gaugePerSale = (name: string, help: string) =>
    new Gauge({ name: `flash_sale_persister_${name}`, help, labelNames: ['sale'], registers });
  return {
    events: counter('events_written_total', 'Events committed to PostgreSQL'),
    batches: counter('batches_total', 'Transactions that committed events'),
    batchSeconds: new Histogram({
      name: 'flash_sale_persister_batch_duration_seconds',
      help: 'From having read a batch to having committed it',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
      registers,
    }),
    deadLetters: counter('dead_letters_total', 'Events and entries set aside'),
    outages: counter('postgres_outages_total', 'Times PostgreSQL stopped taking writes'),
    failures: counter(
      'postgres_failures_total',
      'Tries that PostgreSQL did not take, without those for the data',
    ),
    trims: counter('trims_total', 'Times a stream was trimmed'),
    claimed: counter('entries_claimed_total', 'Entries taken over from consumers that left them'),
    recoverySeconds: new Histogram({
      name: 'flash_sale_persister_recovery_duration_seconds',
      help: 'From finding a sale closed to having opened it again, by what it took',
      labelNames: ['outcome'],
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120],
      registers,
    }),
    lagEvents: gaugePerSale('lag_events', 'Events numbered by Redis that PostgreSQL does not have'),
    lagSeconds: gaugePerSale(
      'lag_seconds',
      'Age of the oldest entry that PostgreSQL does not have',
    ),
    waitingEntries: gaugePerSale(
      'waiting_entries',
      'Entries in a format of another version, waiting for a persister that knows it',
    ),
    expired: new Counter({
      name: 'flash_sale_expired_total',
      help: 'Holds that ended unpaid and gave their units back',
      registers,
    }),
    served: new Counter({
      name: 'flash_sale_served_total',
      help: 'Reservations that the sweep gave to those who wait in line',
      registers,
    }),
    expiryDelaySeconds: new Histogram({
      name: 'flash_sale_expiry_delay_seconds',
      help: 'From the deadline of the oldest hold that a sweep ended until it ended',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
      registers,
    }),
    sweepSeconds: new Histogram({
      name: 'flash_sale_persister_sweep_duration_seconds',
      help: 'One call of the sweep as the persister waits for it',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
      registers,
    }),
    notRecovered: new Gauge({
      name: 'flash_sale_persister_sales_not_recovered',
      help: 'Sales that stay closed until an operator does something',
      registers,
    }),
  };
}

/** For a sale that is gone: its last values would stand there for ever. */
export function forgetSale(metrics: PersisterMetrics, saleId: string): void {
  metrics.lagEvents.remove(saleId);
  metrics.lagSeconds.remove(saleId);
  metrics.waitingEntries.remove(saleId);
}
