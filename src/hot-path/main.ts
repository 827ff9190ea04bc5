/** The hot-path process: one event loop that answers buyers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readHotPathConfig } from '../config.ts';
import { Shards } from '../redis/shards.ts';
import type { Running } from '../running.ts';
import { createLogger, createMetrics } from '../telemetry.ts';
import { createAuthenticate } from './authenticate.ts';
import { Batchers } from './batchers.ts';
import { Traffic } from './exchange.ts';
import { createHotPathMetrics } from './metrics.ts';
import { SaleViews } from './sale-views.ts';
import { serve } from './server.ts';

/** Requests that were read before the process was told to stop get so long to be answered. */
const DRAIN_MS_MAX = 8_000;

/** Throws `config_invalid` and `port_taken`. */
export async function runHotPath(options: { sharePort: boolean }): Promise<Running> {
  const config = readHotPathConfig(process.env);
  const authenticate = createAuthenticate(config);
  const log = createLogger('hot-path', config.LOG_LEVEL);
  const registry = createMetrics('hot-path');
  const traffic = new Traffic();
  const metrics = createHotPathMetrics(registry, traffic, () => batchers.waiting);
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'hot-path',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    demands: config,
    log,
    onUnfit: (fault) => {
      log.fatal(fault.message);
      process.exit(1);
    },
  });
  const views = new SaleViews(shards, log, () => metrics.invariantBroken());
  const batchers = new Batchers(
    shards,
    {
      batchSizeMax: config.BATCH_SIZE_MAX,
      inFlightMax: config.BATCHES_IN_FLIGHT_MAX,
      waitingMax: config.WAITING_MAX,
      backlogMax: config.BACKLOG_MAX,
    },
    metrics,
    log,
  );
  const parts = { shards, views, batchers, authenticate, traffic, metrics, registry, log };
  const server = await serve(parts, {
    host: config.HOST,
    port: config.HOT_PATH_PORT,
    sharePort: options.sharePort,
  });
  log.info({ url: `http://${config.HOST}:${server.port}` }, 'hot path is listening');

  return {
    async close() {
      traffic.draining = true;
      server.stopListening();
      const deadline = performance.now() + DRAIN_MS_MAX;
      while (traffic.pending > 0 && performance.now() < deadline) await sleep(10);
      if (traffic.pending > 0)
        log.error({ pending: traffic.pending }, 'stopping with requests unanswered');
      server.close();
      batchers.close();
      views.close();
      shards.close();
    },
  };
}
