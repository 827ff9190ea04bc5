/**
 * The persister: writes Redis' decisions to PostgreSQL, ends expired holds, recovers sales after Redis restarted, and
 * delivers webhooks. Several can run side by side: each is a consumer of the same group, and every write is idempotent.
 */
import { hostname } from 'node:os';
import { nanoid } from 'nanoid';
import { type PersisterConfig, readPersisterConfig } from '../config.ts';
import { Reporter } from '../counters/reporter.ts';
import { CHANGED_CHANNEL, MISSED_CHANNEL, WORK_CHANNEL } from '../lua/keys.ts';
import { Pairing } from '../pairing/pairing.ts';
import { endSilentHolders } from '../postgres/sale-locks.ts';
import { pause } from '../process/backoff.ts';
import { serveHealth } from '../process/health-server.ts';
import { closeOnce, type RunningProcess } from '../process/lifecycle.ts';
import { createLogger } from '../process/logger.ts';
import { createMetrics } from '../process/metrics.ts';
import { startTracing } from '../process/tracing/start-tracing.ts';
import { createRedisMetrics } from '../redis/redis-metrics.ts';
import { Shards } from '../redis/shards.ts';
import { Archiver } from './archiver.ts';
import { Database } from './database/database.ts';
import { repeat } from './loop.ts';
import { createPersisterMetrics } from './metrics.ts';
import { COUNTS_INTERVAL_MS, PurchaseCounts } from './purchase-counts.ts';
import { SaleWorkers } from './sale-workers.ts';
import { TIMINGS, type Timings } from './timings.ts';
import { runWebhooks, WEBHOOK_CONNECTIONS } from './webhooks/webhooks.ts';
import { retryRequested } from './write/dead-letters.ts';

/** Sales that write concurrently, beside one at rest. A recovery needs two connections: for the locks, for the rows. */
const WRITERS_MAX = 3;
const CONNECTIONS_MAX = (WRITERS_MAX + 1) * 2 + 2 + WEBHOOK_CONNECTIONS;
const DEAD_LETTERS_INTERVAL_MS = 1_000;
const LAG_INTERVAL_MS = 2_000;
const COMPLETE_INTERVAL_MS = 500;
/** A session that holds a sale's lock and sends nothing for this long is ended, because it blocks all others. */
const SILENT_MS_MAX = 10_000;
const SILENT_HOLDERS_INTERVAL_MS = 5_000;
/**
 * `BACKLOG_MAX` does not strictly bound the events that PostgreSQL lacks. It is checked before a reserve call and not
 * within it, waitlist reservations are not bounded, and a hot path may have another value than this process.
 */
const POSITIONS_PER_BACKLOG = 2;
const POSITIONS_BEYOND_BACKLOG = 1_000_000;
/** How long running transactions may take to end when the process stops. */
const CLOSE_GRACE_MS = 3_000;

export async function runPersister(): Promise<RunningProcess> {
  return startPersister(readPersisterConfig(process.env), TIMINGS);
}

export interface RunningPersister extends RunningProcess {
  /** Where `/healthz`, `/readyz` and `/metrics` are. */
  port: number;
}

/** Throws `port_taken`. Resolves before Redis and PostgreSQL are available; `/readyz` shows what is missing. */
export async function startPersister(
  config: PersisterConfig,
  timings: Timings,
): Promise<RunningPersister> {
  const log = createLogger('persister', config.LOG_LEVEL);
  const registry = createMetrics('persister');
  const metrics = createPersisterMetrics(registry);
  const tracing = await startTracing('persister', config, log);
  const stopping = new AbortController();
  let wasReady = false;

  const database = new Database({
    url: config.DATABASE_URL,
    connectionsMax: CONNECTIONS_MAX,
    silenceMs: timings.silenceMs,
    log,
    metrics,
    stopping: stopping.signal,
  });
  const pairing = new Pairing({
    run: (query) => database.run(query),
    waits: true,
    log,
    stopping: stopping.signal,
  });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'flash-sale-persister',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    metrics: createRedisMetrics(registry, config.DURABILITY),
    admission: pairing,
    onUnfit: (fault) => {
      if (wasReady) return;
      log.fatal(fault.message);
      process.exit(1);
    },
  });
  const unready = () => {
    const isRedisReady = database.isUnavailable ? shards.isReachable : shards.isReady;
    const missing = [
      ...(isRedisReady ? [] : ['redis']),
      ...(database.isUnavailable ? ['postgres'] : []),
    ];
    wasReady ||= missing.length === 0;
    return missing;
  };
  const context = {
    shards,
    pairing,
    database,
    log,
    metrics,
    tracing,
    timings,
    stopping: stopping.signal,
    consumer: `${hostname()}-${process.pid}-${nanoid(8)}`,
    durability: config.DURABILITY,
    positionsSkipped: POSITIONS_PER_BACKLOG * config.BACKLOG_MAX + POSITIONS_BEYOND_BACKLOG,
    webhookTargets: { isDevelopment: config.NODE_ENV === 'development' },
  };
  const saleWorkers = new SaleWorkers(context, WRITERS_MAX);
  const purchaseCounts = new PurchaseCounts(context);
  const archiver = new Archiver(context, config.ARCHIVE_AFTER_DAYS);

  const reporter = new Reporter({
    process: 'persister',
    shards,
    log,
    vitals: () => ({ ready: unready().length === 0, backlogRows: saleWorkers.backlogRows }),
  });

  const health = await serveHealth({
    host: config.HOST,
    port: config.PERSISTER_PORT,
    portVariable: 'PERSISTER_PORT',
    metrics: registry,
    unready,
    reasons: () => shards.unfitness,
  });
  shards.onHints(
    {
      [CHANGED_CHANNEL]: (saleId) => saleWorkers.hintChanged(saleId),
      [WORK_CHANNEL]: (saleId) => saleWorkers.hintWork(saleId),
      [MISSED_CHANNEL]: (saleId) => archiver.missed(saleId),
    },
    () => saleWorkers.lookAtAll(),
  );
  shards.onReady(() => saleWorkers.wakeAll());
  shards.onClockJump(() => saleWorkers.lookAtAll());
  const work = Promise.all([
    saleWorkers.run(),
    repeat(context, 'retry dead letters', DEAD_LETTERS_INTERVAL_MS, () => retryRequested(context)),
    repeat(context, 'measure lag', LAG_INTERVAL_MS, () => saleWorkers.measureLag()),
    repeat(context, 'complete the identity', COMPLETE_INTERVAL_MS, () => pairing.complete(shards)),
    repeat(context, 'note readiness', LAG_INTERVAL_MS, async () => void unready()),
    repeat(context, 'end silent holders', SILENT_HOLDERS_INTERVAL_MS, async () => {
      const ended = await database.run((sql) => endSilentHolders(sql, SILENT_MS_MAX));
      if (ended > 0) log.warn({ ended, silentMs: SILENT_MS_MAX }, 'sessions holding a sale ended');
    }),
    repeat(context, 'keep the counts of purchases', COUNTS_INTERVAL_MS, () =>
      purchaseCounts.write(),
    ),
    repeat(context, 'archive ended sales', timings.archive.intervalMs, () => archiver.round()),
    runWebhooks(context, () => saleWorkers.activeSales()),
  ]);
  log.info({ consumer: context.consumer, port: health.port }, 'persister started');

  async function close(): Promise<void> {
    stopping.abort();
    await Promise.race([work, pause(CLOSE_GRACE_MS, new AbortController().signal)]);
    await database.close();
    await work;
    await reporter.close();
    shards.close();
    await health.close();
    await tracing?.close();
    log.info('persister closed');
  }

  return { port: health.port, close: closeOnce(close) };
}
