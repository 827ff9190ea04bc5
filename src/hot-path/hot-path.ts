/** Assembles one hot path, starts it, and shuts it down. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { HotPathConfig } from '../config.ts';
import { Reporter } from '../counters/reporter.ts';
import type { Fault } from '../domain/fault.ts';
import { closeOnce, type RunningProcess } from '../process/lifecycle.ts';
import { createMetrics, metricsOfAllWorkers } from '../process/metrics.ts';
import { startTracing } from '../process/tracing/start-tracing.ts';
import { createRedisMetrics } from '../redis/redis-metrics.ts';
import { Shards } from '../redis/shards.ts';
import { Admission } from './admission/admission.ts';
import { createAuthenticate } from './admission/authenticate.ts';
import { Batchers } from './buy/batchers.ts';
import { BuyBodies } from './buy/buy-body.ts';
import { BuyerCalls } from './buyer/buyer-calls.ts';
import { Cors } from './http/cors.ts';
import { ServerLoad } from './http/server-load.ts';
import { Live } from './live/live.ts';
import { createHotPathMetrics } from './metrics/hot-path-metrics.ts';
import { RequestTracer } from './request-tracer.ts';
import { MemoryPressure } from './sales/memory-pressure.ts';
import { SaleViews } from './sales/sale-views.ts';
import { SoldOut } from './sales/sold-out.ts';
import { errorResponse } from './sales/with-sale.ts';
import { type HotPathServer, serve } from './server.ts';

/** Listening starts when Redis is ready, so that the first buyers are not refused; but no later than this. */
const REDIS_WAIT_MS_MAX = 2_000;
/** The time that requests in progress have to finish when the process stops. */
const DRAIN_MS_MAX = 8_000;
/** The time that idle connections have to send a request, whose response then closes them without an error. */
const IDLE_GRACE_MS = 1_000;
const POLL_MS = 10;

export interface HotPath extends RunningProcess {
  port: number;
  shards: Shards;
  batchers: Batchers;
}

/** Throws `config_invalid` and `port_taken`. */
export async function startHotPath(
  config: HotPathConfig,
  options: { sharePort: boolean; log: Logger; onUnfit: (fault: Fault) => void },
): Promise<HotPath> {
  const { log, onUnfit, sharePort } = options;
  const authenticate = createAuthenticate(config);
  const tracing = await startTracing('hot-path', config, log);
  const tracer = tracing && new RequestTracer(tracing);
  const registry = createMetrics('hot-path');
  const load = new ServerLoad(config.REQUESTS_MAX);
  const metrics = createHotPathMetrics(registry, {
    load,
    queued: () => batchers.waiting,
    subscribers: () => live.subscribers,
    localSoldOut: () => soldOut.refusals,
    nearlyFull: () => memoryPressure.nearlyFull,
  });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'hot-path',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    metrics: createRedisMetrics(registry, config.DURABILITY),
    onUnfit,
  });
  const views = new SaleViews(shards, log, () => metrics.invariantBroken());
  const soldOut = new SoldOut(shards, views, log);
  shards.onChanged((saleId) => {
    soldOut.invalidate(saleId);
    views.changed(saleId);
  });
  const memoryPressure = new MemoryPressure(shards);
  const limits = {
    batchSizeMax: config.BATCH_SIZE_MAX,
    inFlightMax: config.BATCHES_IN_FLIGHT_MAX,
    waitingMax: config.WAITING_MAX,
    backlogMax: config.BACKLOG_MAX,
  };
  const batchers = new Batchers({
    shards,
    memoryPressure,
    tracer,
    limits,
    metrics,
    log,
    onDecided: (saleId, batch, outcomes) => soldOut.decided(saleId, batch, outcomes),
    onDamaged: (saleId) => views.requestRecovery(saleId),
  });
  const admission = new Admission({
    authenticate,
    config,
    onLimited: (by) => metrics.rateLimited(by),
  });
  const live = new Live({
    shards,
    views,
    authenticate,
    load,
    log,
    config,
    onSlow: () => metrics.liveDropped(),
    onFailed: () => metrics.handlerFailed(),
  });
  const reporter = new Reporter({
    process: 'hot-path',
    shards,
    log,
    vitals: () => ({
      ready: shards.isReady && !load.isDraining,
      connections: load.connections,
      liveSubscribers: live.subscribers,
    }),
    sample: (nowMs) => metrics.countsBySale.sample(nowMs),
    salesOn: (isOnServer, most) => metrics.countsBySale.read(isOnServer, most),
  });
  const closeAll = async () => {
    await reporter.close();
    live.close();
    batchers.close();
    soldOut.close();
    memoryPressure.close();
    views.close();
    shards.close();
    load.close();
  };
  const deadline = performance.now() + REDIS_WAIT_MS_MAX;
  while (!shards.isReady && performance.now() < deadline) await sleep(POLL_MS);
  const server = await serve(
    {
      shards,
      views,
      memoryPressure,
      buyBodies: new BuyBodies(),
      batchers,
      buyerCalls: new BuyerCalls(),
      soldOut,
      live,
      admission,
      reporter,
      load,
      tracer,
      cors: new Cors(config.CORS_ORIGINS),
      metrics,
      responseToError: (error, exchange) => errorResponse(error, { metrics, log }, exchange),
      registry,
      collectMetrics: sharePort ? metricsOfAllWorkers(registry) : () => registry.metrics(),
      log,
    },
    { host: config.HOST, port: config.HOT_PATH_PORT, sharePort },
  ).catch(async (error: unknown) => {
    await closeAll();
    throw error;
  });
  log.info({ url: `http://${config.HOST}:${server.port}` }, 'hot path started');

  return {
    port: server.port,
    shards,
    batchers,
    close: closeOnce(async () => {
      await drain({ server, load, live, log });
      server.close();
      await closeAll();
      await tracing?.close();
    }),
  };
}

interface Draining {
  server: HotPathServer;
  load: ServerLoad;
  live: Live;
  log: Logger;
}

/**
 * Responds to the requests in progress and disconnects WebSockets. Closing a connection while a request is in transit costs its client a retry.
 * Open connections therefore get a short time in which a response can announce the close.
 */
async function drain({ server, load, live, log }: Draining): Promise<void> {
  load.startDraining();
  server.stopListening();
  void live.drain();
  const startedAt = performance.now();
  for (;;) {
    const spentMs = performance.now() - startedAt;
    const isQuiet = load.pending === 0 && live.subscribers === 0;
    const isIdle = isQuiet && (load.connections === 0 || spentMs > IDLE_GRACE_MS);
    if (isIdle || spentMs > DRAIN_MS_MAX) break;
    await sleep(POLL_MS);
  }
  if (load.pending > 0) {
    log.error({ pending: load.pending }, 'stopped with requests pending');
  }
}
