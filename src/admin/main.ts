/** The admin process: the HTTP API of operators and merchants, and the repair of sale operations that are pending. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readAdminConfig } from '../config.ts';
import { Pairing } from '../pairing/pairing.ts';
import { connectPostgres } from '../postgres/connection.ts';
import { portTaken } from '../process/health-server.ts';
import { closeOnce, type RunningProcess } from '../process/lifecycle.ts';
import { createLogger } from '../process/logger.ts';
import { createMetrics } from '../process/metrics.ts';
import { startTracing } from '../process/tracing/start-tracing.ts';
import { createRedisMetrics } from '../redis/redis-metrics.ts';
import { Shards } from '../redis/shards.ts';
import { createAdminApp } from './app.ts';
import { createAdminMetrics } from './metrics.ts';
import { startPendingRepairer } from './sales/pending-repairer.ts';

const POSTGRES_CONNECTIONS_MAX = 10;
/** At shutdown, requests get the first grace period to finish; queries in progress then get the second. */
const POSTGRES_GRACE_MS = 3_000;
const POSTGRES_END_SECONDS = 1;

/** Throws `config_invalid` and `port_taken`. Redis and PostgreSQL may be unavailable at start; it keeps reconnecting. */
export async function runAdmin(): Promise<RunningProcess> {
  const config = readAdminConfig(process.env);
  const log = createLogger('admin', config.LOG_LEVEL);
  const registry = createMetrics('admin');
  const metrics = createAdminMetrics(registry);
  const tracing = await startTracing('admin', config, log);
  const sql = connectPostgres(config.DATABASE_URL, {
    process: 'admin',
    connectionsMax: POSTGRES_CONNECTIONS_MAX,
  });
  const pairing = new Pairing({ run: (query) => query(sql), waits: false, log });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'admin',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    metrics: createRedisMetrics(registry, config.DURABILITY),
    admission: pairing,
    onUnfit: (fault) => log.error({ err: fault }, 'redis rejected as unfit'),
  });
  const app = await createAdminApp({
    sql,
    shards,
    pairing,
    log,
    metrics,
    tracing,
    tokens: config.ADMIN_TOKENS,
    trustedProxies: config.TRUSTED_PROXIES,
    isDevelopment: config.NODE_ENV === 'development',
  });
  try {
    await app.listen({ host: config.HOST, port: config.ADMIN_PORT });
  } catch (error) {
    shards.close();
    await sql.end({ timeout: 0 });
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw portTaken(config.HOST, config.ADMIN_PORT, 'ADMIN_PORT', error);
  }
  const repairer = startPendingRepairer({ sql, shards, log, metrics });
  return {
    close: closeOnce(async () => {
      const closing = app.close();
      // Requests that wait longer for PostgreSQL get `unavailable` before their connections are closed.
      await Promise.race([closing, sleep(POSTGRES_GRACE_MS, undefined, { ref: false })]);
      await Promise.all([repairer.close(), sql.end({ timeout: POSTGRES_END_SECONDS })]);
      await closing;
      shards.close();
      await tracing?.close();
    }),
  };
}
