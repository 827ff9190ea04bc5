/**
 * What the Grafana dashboard shows, panel by panel, and from which expressions. From top to bottom: is all well, what do
 * buyers get, does PostgreSQL keep up, do the processes have enough.
 */

interface Query {
  expr: string;
  /** With labels in braces: `{{outcome}}`. */
  legend: string;
}

export interface Panel {
  title: string;
  /** What an operator reads from it. */
  says: string;
  kind: 'stat' | 'timeseries' | 'table';
  unit: string;
  /** Of 24 columns. */
  width: number;
  /** Stats only: from this value on it is red. */
  redFrom?: number;
  stacked?: boolean;
  queries: readonly Query[];
}

interface Row {
  title: string;
  height: number;
  panels: readonly Panel[];
}

export const ACTIVE_ALERTS = 'ALERTS{alertname=~"FlashSale.*", alertstate="firing"}';

/** Green below `redFrom`. A series that does not exist counts as 0. */
function stat(title: string, says: string, expr: string, redFrom?: number): Panel {
  const query = { expr: `${expr} or vector(0)`, legend: title };
  const red = redFrom === undefined ? {} : { redFrom };
  return { title, says, kind: 'stat', unit: 'short', width: 4, queries: [query], ...red };
}

function graph(
  title: string,
  says: string,
  unit: string,
  queries: readonly (readonly [expr: string, legend: string])[],
  options: { width?: number; stacked?: boolean } = {},
): Panel {
  return {
    title,
    says,
    kind: 'timeseries',
    unit,
    width: options.width ?? 8,
    stacked: options.stacked ?? false,
    queries: queries.map(([expr, legend]) => ({ expr, legend })),
  };
}

export const ROWS: readonly Row[] = [
  {
    title: 'Is all well?',
    height: 5,
    panels: [
      stat(
        'Alerts',
        'Alerts that fire now. docs/RUNBOOK.md has a section for each.',
        `count(${ACTIVE_ALERTS})`,
        1,
      ),
      stat(
        'Processes down',
        'Processes that do not respond to Prometheus.',
        'sum(up{job=~"hot-path|persister|admin"} == bool 0)',
        1,
      ),
      stat(
        'Sales that need an operator',
        'Closed sales that cannot be recovered by themselves.',
        'max(flash_sale_persister_sales_not_recovered)',
        1,
      ),
      stat(
        'Broken promises',
        'Stock that does not add up, and checks of verify that failed, in the last hour.',
        'sum(increase(flash_sale_invariant_violations_total[1h])) + sum(increase(flash_sale_failed_checks_total[1h]))',
        1,
      ),
      stat(
        'New dead letters',
        'Events that PostgreSQL rejected in the last hour.',
        'sum(increase(flash_sale_persister_dead_letters_total[1h]))',
        1,
      ),
      stat(
        'Oldest event without a row, s',
        'How far PostgreSQL is behind Redis. More than 30 s is an alert.',
        'max(sale:flash_sale_persister_lag_seconds:max)',
        30,
      ),
      {
        title: 'Firing alerts',
        says: 'Look up each name in docs/RUNBOOK.md.',
        kind: 'table',
        unit: 'short',
        width: 24,
        queries: [{ expr: ACTIVE_ALERTS, legend: '{{alertname}}' }],
      },
    ],
  },
  {
    title: 'Buyers',
    height: 8,
    panels: [
      graph(
        'Responses to purchases per second',
        'By outcome, summed over all hot paths. sold_out includes those from memory.',
        'reqps',
        [['outcome:flash_sale_buy:rate1m', '{{outcome}}']],
        { stacked: true },
      ),
      graph(
        'Purchase latency inside the hot path',
        'Without the network between buyer and hot path.',
        's',
        [
          ['outcome:flash_sale_buy_seconds:p50_5m', '{{outcome}} p50'],
          ['outcome:flash_sale_buy_seconds:p99_5m', '{{outcome}} p99'],
        ],
      ),
      graph(
        'Refused before a decision per second',
        'Overload, rate limits, and sold-out responses without a call to Redis.',
        'reqps',
        [
          ['flash_sale_refused_requests:rate5m', 'overloaded'],
          ['by:flash_sale_rate_limited:rate5m', 'rate limit by {{by}}'],
          ['flash_sale_local_sold_out:rate1m', 'sold_out from memory'],
        ],
      ),
      graph(
        'Waiting',
        'Purchases that wait for the next call, and requests without a response.',
        'short',
        [
          ['sum(flash_sale_queued_purchases)', 'queued purchases'],
          ['sum(flash_sale_pending_requests)', 'requests in flight'],
        ],
      ),
      graph('Connections', 'Open connections of buyers.', 'short', [
        ['sum(flash_sale_connections)', 'HTTP'],
        ['sum(flash_sale_live_subscribers)', 'WebSockets'],
        ['sum(rate(flash_sale_live_dropped_clients_total[5m]))', 'WebSockets dropped per second'],
      ]),
      graph(
        'Failures',
        'Exceptions are mistakes in the code. Violations mean that stock does not add up.',
        'short',
        [
          ['sum(increase(flash_sale_handler_failures_total[5m]))', 'exceptions in 5 min'],
          ['sum(increase(flash_sale_invariant_violations_total[5m]))', 'violations in 5 min'],
          ['max(flash_sale_unresponsive_workers)', 'workers that hang'],
        ],
      ),
    ],
  },
  {
    title: 'Redis decides',
    height: 8,
    panels: [
      graph('One reserve call, p99', 'Round trip with the write to disk.', 's', [
        ['flash_sale_reserve_seconds:p99_5m', 'p99'],
      ]),
      graph('Purchases per reserve call', 'The mean. It grows with the load.', 'short', [
        ['flash_sale_reserve_batch_size:mean_5m', 'mean'],
      ]),
      graph('Faults of Redis per second', 'By fault code and process.', 'short', [
        ['process_code:flash_sale_redis_faults:rate5m > 0', '{{process}} {{code}}'],
        [
          'sum by (process) (increase(flash_sale_redis_unfit_total[5m]))',
          '{{process}} unfit in 5 min',
        ],
        ['sum by (kind) (increase(flash_sale_clock_jumps_total[5m]))', 'clock {{kind}} in 5 min'],
        ['max(flash_sale_redis_nearly_full)', 'servers that are nearly full'],
      ]),
    ],
  },
  {
    title: 'PostgreSQL remembers',
    height: 8,
    panels: [
      graph('Behind Redis', 'Age of the oldest event that PostgreSQL lacks, by sale.', 's', [
        ['sale:flash_sale_persister_lag_seconds:max', '{{sale}}'],
      ]),
      graph('Events that PostgreSQL lacks', 'By sale.', 'short', [
        ['sale:flash_sale_persister_lag_events:max', '{{sale}}'],
        [
          'max by (sale) (flash_sale_persister_waiting_entries)',
          '{{sale}}: another version needed',
        ],
      ]),
      graph('Events written per second', 'Summed over all persisters.', 'short', [
        ['flash_sale_persister_events_written:rate1m', 'events'],
        ['sum(rate(flash_sale_persister_batches_total[1m]))', 'transactions'],
      ]),
      graph('One write batch, p99', 'From the parsed batch to its acknowledgement.', 's', [
        ['flash_sale_persister_batch_duration_seconds:p99_5m', 'p99'],
      ]),
      graph('PostgreSQL fails', 'Failed attempts per second, and outages in 5 minutes.', 'short', [
        [
          'sum(rate(flash_sale_persister_postgres_failures_total[5m]))',
          'failed attempts per second',
        ],
        ['sum(increase(flash_sale_persister_postgres_outages_total[5m]))', 'outages in 5 min'],
      ]),
      graph(
        'Recoveries',
        'Sales that were reopened, and damage that was found, in 5 minutes.',
        'short',
        [
          [
            'sum by (outcome) (increase(flash_sale_persister_recovery_duration_seconds_count[5m]))',
            '{{outcome}}',
          ],
          ['sum(increase(flash_sale_persister_damages_total[5m]))', 'damaged'],
        ],
      ),
    ],
  },
  {
    title: 'Holds and waitlist',
    height: 8,
    panels: [
      graph('Holds ended and buyers served per second', 'By the sweep.', 'short', [
        ['flash_sale_expired:rate1m', 'holds expired'],
        ['flash_sale_served:rate1m', 'waitlist served'],
      ]),
      graph('How late holds end, p99', 'More than 5 s is an alert.', 's', [
        ['flash_sale_expiry_delay_seconds:p99_5m', 'p99'],
      ]),
      graph('One sweep call, p99', 'As the persister sees it.', 's', [
        ['flash_sale_persister_sweep_duration_seconds:p99_5m', 'p99'],
      ]),
    ],
  },
  {
    title: 'Operators, merchants, webhooks',
    height: 8,
    panels: [
      graph('Requests to admin per second', 'By route and status.', 'reqps', [
        [
          'method_route_status:flash_sale_admin_http_request:rate5m > 0',
          '{{method}} {{route}} {{status}}',
        ],
      ]),
      graph('Latency of admin, p99', 'By route.', 's', [
        ['method_route:flash_sale_admin_http_request_seconds:p99_5m', '{{method}} {{route}}'],
      ]),
      graph('Changes not applied yet', 'Sales whose recorded changes wait for Redis.', 'short', [
        ['max(flash_sale_admin_sales_with_pending_operations)', 'sales'],
      ]),
      graph('Webhook attempts per second', 'By outcome.', 'short', [
        ['outcome:flash_sale_persister_webhook_attempts:rate5m', '{{outcome}}'],
      ]),
      graph('Webhooks that wait', 'Deliveries and endpoints.', 'short', [
        ['max(flash_sale_persister_webhook_pending)', 'pending deliveries'],
        ['max(flash_sale_persister_webhook_endpoints_paused)', 'paused endpoints'],
        ['max(flash_sale_persister_webhook_endpoints_disabled)', 'disabled endpoints'],
        ['sum(increase(flash_sale_persister_webhook_dead_total[1h]))', 'given up in 1 h'],
      ]),
      graph('Webhook delay', 'Age of the oldest pending delivery, and one attempt.', 's', [
        ['max(flash_sale_persister_webhook_oldest_pending_seconds)', 'oldest pending'],
        ['flash_sale_persister_webhook_attempt_duration_seconds:p99_5m', 'attempt p99'],
      ]),
    ],
  },
  {
    title: 'Processes',
    height: 8,
    panels: [
      graph('CPU, in cores', 'One hot path uses at most one core.', 'short', [
        ['process_instance:process_cpu_seconds:rate1m', '{{process}} {{instance}}'],
      ]),
      graph(
        'Event loop delay, p99',
        'The worst process of each kind. More than 0.5 s is an alert.',
        's',
        [['process:nodejs_eventloop_lag_seconds:p99_max', '{{process}}']],
      ),
      graph('Memory', 'Resident memory of each process.', 'bytes', [
        ['process_resident_memory_bytes', '{{process}} {{instance}}'],
      ]),
    ],
  },
];

/** Every expression of the dashboard. */
export function expressions(): string[] {
  return ROWS.flatMap(({ panels }) => panels).flatMap(({ queries }) =>
    queries.map(({ expr }) => expr),
  );
}
