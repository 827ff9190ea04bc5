/** The metrics of the hot path. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FaultCode } from '../../domain/fault.ts';
import { LatencyHistogram } from './latency-histogram.ts';

/** Values that a scrape reads from other parts. */
export interface MetricSources {
  load: { readonly pending: number; readonly connections: number };
  queued: () => number;
  subscribers: () => number;
  localSoldOut: () => number;
}

export interface HotPathMetrics {
  /** Counts the response to a purchase; `seconds` is the time inside this process. */
  bought(outcome: string, seconds: number): void;
  reserveCalled(size: number, seconds: number): void;
  faulted(code: FaultCode): void;
  invariantBroken(): void;
  /** A request was rejected without reading it, because too many were in progress. */
  requestRejected(): void;
  /** A WebSocket was closed because its client did not read. */
  liveDropped(): void;
  /** A request was rejected by a rate limit. */
  rateLimited(by: 'buyer' | 'address'): void;
}

export function createHotPathMetrics(registry: Registry, sources: MetricSources): HotPathMetrics {
  const { load } = sources;
  const registers = [registry];
  const buyTimes = new LatencyHistogram(registry);
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
  const faults = new Counter({
    name: 'flash_sale_redis_faults_total',
    help: 'Failed calls to Redis, by fault code',
    labelNames: ['code'],
    registers,
  });
  const broken = new Counter({
    name: 'flash_sale_invariant_violations_total',
    help: 'Violations of the stock invariant of a SKU; any value above 0 is an alarm',
    registers,
  });
  const requestRejected = new Counter({
    name: 'flash_sale_rejected_requests_total',
    help: 'Requests rejected without reading them, because too many were in progress',
    registers,
  });
  const dropped = new Counter({
    name: 'flash_sale_live_dropped_clients_total',
    help: 'WebSockets closed because their client did not read',
    registers,
  });
  const limited = new Counter({
    name: 'flash_sale_rate_limited_total',
    help: 'Requests rejected by the rate limit of a buyer or of an address',
    labelNames: ['by'],
    registers,
  });
  registry.registerMetric(
    new Counter({
      name: 'flash_sale_local_sold_out_total',
      help: 'Purchases rejected as sold out without a call to Redis',
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
  gauge('flash_sale_queued_buyers', 'Purchases waiting for a reserve call', sources.queued);
  gauge('flash_sale_pending_requests', 'Requests without a response so far', () => load.pending);
  gauge('flash_sale_connections', 'Open connections, WebSockets excluded', () => load.connections);
  gauge('flash_sale_live_subscribers', 'Open WebSockets', sources.subscribers);
  return {
    bought: (outcome, seconds) => buyTimes.count(outcome, seconds),
    reserveCalled(size, seconds) {
      reserveSeconds.observe(seconds);
      reserveSize.observe(size);
    },
    faulted: (code) => faults.inc({ code }),
    invariantBroken: () => broken.inc(),
    requestRejected: () => requestRejected.inc(),
    liveDropped: () => dropped.inc(),
    rateLimited: (by) => limited.inc({ by }),
  };
}
