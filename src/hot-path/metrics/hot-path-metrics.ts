/** The metrics of the hot path. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { FAULTS, type FaultCode } from '../../domain/fault.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import { CountsBySale } from './sale-counts.ts';

/** Values that a scrape reads from other parts. */
export interface MetricSources {
  load: { readonly pending: number; readonly connections: number };
  queued: () => number;
  subscribers: () => number;
  localSoldOut: () => number;
  nearlyFull: () => number;
}

export type HotPathMetrics = ReturnType<typeof createHotPathMetrics>;

export function createHotPathMetrics(registry: Registry, sources: MetricSources) {
  const { load } = sources;
  const registers = [registry];
  const buyTimes = new LatencyHistogram(registry);
  const countsBySale = new CountsBySale();
  const reserveSeconds = new Histogram({
    name: 'flash_sale_reserve_seconds',
    help: 'Round trip of one reserve call',
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2],
    registers,
  });
  const reserveSize = new Histogram({
    name: 'flash_sale_reserve_batch_size',
    help: 'Purchases decided by one reserve call',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    registers,
  });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const faults = counter('flash_sale_redis_faults_total', 'Failed calls to Redis, by fault code', [
    'code',
  ]);
  // An increase from nothing would not count as one.
  for (const code of Object.keys(FAULTS)) faults.inc({ code }, 0);
  const violations = counter(
    'flash_sale_invariant_violations_total',
    'Violations of the stock invariant of a SKU; any value above 0 is an alarm',
  );
  const refused = counter(
    'flash_sale_refused_requests_total',
    'Requests refused without reading them, because too many were in progress',
  );
  const dropped = counter(
    'flash_sale_live_dropped_clients_total',
    'WebSockets closed because their client did not read',
  );
  const failures = counter(
    'flash_sale_handler_failures_total',
    'Exceptions while serving one buyer or one WebSocket; any value above 0 is a bug',
  );
  const limited = counter(
    'flash_sale_rate_limited_total',
    'Requests refused by the rate limit of a buyer or of an address',
    ['by'],
  );
  registry.registerMetric(
    new Counter({
      name: 'flash_sale_local_sold_out_total',
      help: 'Purchases refused as sold out without a call to Redis',
      registers: [],
      collect() {
        this.reset();
        this.inc(sources.localSoldOut());
      },
    }),
  );
  const gauge = (name: string, help: string, read: () => number) =>
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      }),
    );
  gauge('flash_sale_queued_purchases', 'Purchases waiting for a reserve call', sources.queued);
  gauge('flash_sale_pending_requests', 'Requests without a response so far', () => load.pending);
  gauge('flash_sale_connections', 'Open connections, WebSockets excluded', () => load.connections);
  gauge('flash_sale_live_subscribers', 'Open WebSockets', sources.subscribers);
  gauge(
    'flash_sale_redis_nearly_full',
    'Redis servers above 80 % of maxmemory, which get no new reservations',
    sources.nearlyFull,
  );
  return {
    /** By sale, for the dashboard. */
    countsBySale,
    /** `seconds` is the time inside this process. */
    bought: (outcome: string, seconds: number) => buyTimes.count(outcome, seconds),
    reserveCalled(size: number, seconds: number) {
      reserveSeconds.observe(seconds);
      reserveSize.observe(size);
    },
    faulted: (code: FaultCode) => faults.inc({ code }),
    handlerFailed: () => failures.inc(),
    invariantBroken: () => violations.inc(),
    requestRefused: () => refused.inc(),
    liveDropped: () => dropped.inc(),
    rateLimited: (by: 'buyer' | 'address') => limited.inc({ by }),
  };
}
