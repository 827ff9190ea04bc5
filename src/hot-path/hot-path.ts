/** One hot path, assembled: connections, views, lines and the server in front of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { HotPathConfig } from '../config.ts';
import type { Fault } from '../domain/fault.ts';
import { closeOnce, type RunningProcess } from '../process/lifecycle.ts';
import { createMetrics, metricsOfAllWorkers } from '../process/metrics.ts';
import { Shards } from '../redis/shards.ts';
import { Admission } from './admission/admission.ts';
import { createAuthenticate } from './admission/authenticate.ts';
import { Batchers } from './buy/batchers.ts';
import { ServerLoad } from './http/server-load.ts';
import { Live } from './live/live.ts';
import { createHotPathMetrics } from './metrics/metrics.ts';
import { MemoryPressure } from './sales/memory-pressure.ts';
import { SaleViews } from './sales/sale-views.ts';
import { SoldOut } from './sales/sold-out.ts';
import { type HotPathServer, serve } from './server.ts';

/** Whoever listens is sent buyers: better to listen a moment later than to refuse the first. Redis may be away, though. */
const REDIS_PATIENCE_MS = 2_000;
/** Requests that were read before the process was told to stop get so long to be answered. */
const DRAIN_MS_MAX = 8_000;
/** Connections without a request get so long to bring one, whose answer then closes them in good order. */
const LINGER_MS = 1_000;
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
  const registry = createMetrics('hot-path');
  const traffic = new ServerLoad(config.REQUESTS_MAX);
  const metrics = createHotPathMetrics(registry, traffic, {
    waiting: () => batchers.waiting,
    subscribers: () => live.subscribers,
    soldOutLocally: () => soldOut.refusals,
  });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'hot-path',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    onUnfit,
  });
  const views = new SaleViews(shards, log, () => metrics.invariantBroken());
  const soldOut = new SoldOut(shards, log);
  shards.onChanged((saleId) => {
    soldOut.changed(saleId);
    views.changed(saleId);
  });
  const memory = new MemoryPressure(shards);
  const limits = {
    batchSizeMax: config.BATCH_SIZE_MAX,
    inFlightMax: config.BATCHES_IN_FLIGHT_MAX,
    waitingMax: config.WAITING_MAX,
    backlogMax: config.BACKLOG_MAX,
  };
  const batchers = new Batchers(shards, memory, limits, metrics, log, (saleId) =>
    soldOut.noticed(saleId),
  );
  const admission = new Admission({
    authenticate,
    config,
    onLimited: (by) => metrics.rateLimited(by),
  });
  const live = new Live({
    shards,
    views,
    authenticate,
    traffic,
    log,
    config,
    onSlow: () => metrics.liveDropped(),
  });
  const closeParts = () => {
    live.close();
    batchers.close();
    soldOut.close();
    memory.close();
    views.close();
    shards.close();
    traffic.close();
  };
  const patientUntil = performance.now() + REDIS_PATIENCE_MS;
  while (!shards.isReady && performance.now() < patientUntil) await sleep(POLL_MS);
  const server = await serve(
    {
      shards,
      views,
      memory,
      batchers,
      soldOut,
      live,
      admission,
      traffic,
      metrics,
      registry,
      measurements: sharePort ? metricsOfAllWorkers(registry) : () => registry.metrics(),
      log,
    },
    { host: config.HOST, port: config.HOT_PATH_PORT, sharePort },
  ).catch((error: unknown) => {
    closeParts();
    throw error;
  });
  log.info({ url: `http://${config.HOST}:${server.port}` }, 'hot path is listening');

  return {
    port: server.port,
    shards,
    batchers,
    close: closeOnce(async () => {
      await drain(server, traffic, log);
      server.close();
      closeParts();
    }),
  };
}

/**
 * Answers what was read. A connection that is closed with a request on its way to us costs its client another try, so
 * those that stay open are given a moment to learn from an answer that this process is going.
 */
async function drain(server: HotPathServer, traffic: ServerLoad, log: Logger): Promise<void> {
  traffic.draining = true;
  server.stopListening();
  const startedAt = performance.now();
  for (;;) {
    const spentMs = performance.now() - startedAt;
    const isIdle = traffic.pending === 0 && (traffic.connections === 0 || spentMs > LINGER_MS);
    if (isIdle || spentMs > DRAIN_MS_MAX) break;
    await sleep(POLL_MS);
  }
  if (traffic.pending > 0) {
    log.error({ pending: traffic.pending }, 'stopping with requests unanswered');
  }
}
