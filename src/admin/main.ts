/** The admin process: operators and merchants over HTTP, and the repair of changes that did not reach Redis. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readAdminConfig } from '../config.ts';
import { connectPostgres } from '../postgres/connection.ts';
import { portTaken } from '../process/health-server.ts';
import type { RunningProcess } from '../process/lifecycle.ts';
import { createLogger } from '../process/logger.ts';
import { createMetrics } from '../process/metrics.ts';
import { Shards } from '../redis/shards.ts';
import { createAdminApp } from './app.ts';
import { startPendingRepairer } from './sales/pending-repairer.ts';

const POSTGRES_CONNECTIONS_MAX = 10;
/** What is under way in PostgreSQL has so long to end when the process is to stop, and then so long again. */
const POSTGRES_GRACE_MS = 3_000;
const POSTGRES_END_SECONDS = 1;

/** Throws `config_invalid` and `port_taken`. Neither server needs to be there: it keeps trying, and says so. */
export async function runAdmin(): Promise<RunningProcess> {
  const config = readAdminConfig(process.env);
  const log = createLogger('admin', config.LOG_LEVEL);
  const metrics = createMetrics('admin');
  const sql = connectPostgres(config.DATABASE_URL, {
    name: 'admin',
    connectionsMax: POSTGRES_CONNECTIONS_MAX,
  });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'admin',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    onUnfit: (fault) => log.error(fault.message),
  });
  const app = await createAdminApp({
    sql,
    shards,
    log,
    metrics,
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
  const repairer = startPendingRepairer({ sql, shards, log }, metrics);
  return {
    async close() {
      const closing = app.close();
      // Whoever waits for PostgreSQL longer than that is told that it is not there, before connections are cut.
      await Promise.race([closing, sleep(POSTGRES_GRACE_MS, undefined, { ref: false })]);
      await Promise.all([repairer.close(), sql.end({ timeout: POSTGRES_END_SECONDS })]);
      await closing;
      shards.close();
    },
  };
}
