/** What the hot path counts. Labels are bound once, so that counting costs an addition. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FaultCode } from '../../domain/fault.ts';
import type { ServerLoad } from '../http/server-load.ts';
import { LatencyHistogram } from './latency-histogram.ts';

export interface HotPathMetrics {
  /** One answered buy, by what the buyer was told, and the seconds it took inside this process. */
  bought(outcome: string, seconds: number): void;
  reserveCalled(size: number, seconds: number): void;
  faulted(code: FaultCode): void;
  invariantBroken(): void;
  /** A request was refused unread, because too many were under way. */
  requestRejected(): void;
  /** A live client that did not read was closed. */
  liveDropped(): void;
  /** A request was refused because whoever sent it sends too many. */
  rateLimited(by: 'buyer' | 'address'): void;
}

export function createHotPathMetrics(
  registry: Registry,
  traffic: ServerLoad,
  counts: { waiting: () => number; subscribers: () => number; soldOutLocally: () => number },
): HotPathMetrics {
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
    help: 'Buyers decided by one reserve call',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    registers,
  });
  const faults = new Counter({
    name: 'flash_sale_redis_faults_total',
    help: 'Calls to Redis that failed, by what is known of their outcome',
    labelNames: ['code'],
    registers,
  });
  const broken = new Counter({
    name: 'flash_sale_invariant_violations_total',
    help: 'Times that the stock of a SKU did not add up; anything but 0 is an alarm',
    registers,
  });
  const requestRejected = new Counter({
    name: 'flash_sale_rejected_requests_total',
    help: 'Requests refused unread, because the process had too many under way',
    registers,
  });
  const dropped = new Counter({
    name: 'flash_sale_live_dropped_clients_total',
    help: 'WebSockets closed because their client did not read',
    registers,
  });
  const limited = new Counter({
    name: 'flash_sale_rate_limited_total',
    help: 'Requests refused because their buyer, or their address, sends too many',
    labelNames: ['by'],
    registers,
  });
  registry.registerMetric(
    new Counter({
      name: 'flash_sale_local_sold_out_total',
      help: 'Buyers told "sold out" without a call to Redis',
      registers: [],
      collect() {
        this.reset();
        this.inc(counts.soldOutLocally());
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
  gauge('flash_sale_queued_buyers', 'Buyers waiting for a reserve call', counts.waiting);
  gauge('flash_sale_pending_requests', 'Requests read and not answered yet', () => traffic.pending);
  gauge(
    'flash_sale_connections',
    'Connections open, without WebSockets',
    () => traffic.connections,
  );
  gauge('flash_sale_live_subscribers', 'WebSockets that are open', counts.subscribers);
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
