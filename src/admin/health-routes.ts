/** The health, readiness and metrics of this process. */
import type { FastifyInstance } from 'fastify';
import { PROCESS_OPERATIONS } from '../api/process-operations.ts';
import { healthBody } from '../process/health-server.ts';
import type { AdminContext } from './context.ts';
import { respond } from './http/outcome.ts';
import { serveOperation } from './http/serve-operation.ts';
import { SingleFlight } from './http/single-flight.ts';

/** Below the 2 s after which the probes of this process time out. */
const PROBE_TIMEOUT_MS = 1_000;

export function serveHealth(app: FastifyInstance, context: AdminContext): void {
  const [health, readiness, metrics] = PROCESS_OPERATIONS;

  serveOperation(app, health, async () => respond(200, healthBody([])));

  // A migrated PostgreSQL is required only once. Merchants do not need it, so a later outage must not make every admin
  // unready, and with that unreachable for them.
  let wasReady = false;
  const probe = new SingleFlight(() => probePostgres(context));
  serveOperation(app, readiness, async () => {
    const timeout = new Promise<string>((resolve) => {
      setTimeout(() => resolve('postgres'), PROBE_TIMEOUT_MS).unref();
    });
    // Joined: while a probe gets no reply, no other one is sent.
    const postgres = await Promise.race([probe.join('postgres'), timeout]);
    const { isReady: isRedisReady, isPaired } = context.shards;
    // Redis replied before PostgreSQL did: until PostgreSQL has told which database it is, no change is applied.
    const isUnknown = !wasReady && isRedisReady && !isPaired;
    const missing = [
      ...(isRedisReady ? [] : ['redis']),
      ...(postgres === undefined ? (isUnknown ? ['postgres'] : []) : [postgres]),
    ];
    wasReady ||= missing.length === 0;
    const isReady = wasReady ? !missing.includes('redis') : missing.length === 0;
    return respond(isReady ? 200 : 503, {
      ...healthBody(missing, context.shards.unfitness),
      status: isReady ? 'ok' : 'unready',
    });
  });

  serveOperation(app, metrics, async () =>
    respond(200, await context.metrics.registry.metrics(), {
      'Content-Type': context.metrics.registry.contentType,
    }),
  );
}

/** Returns the missing dependency: `postgres`, `migrations`, or undefined. */
function probePostgres({ sql }: AdminContext): Promise<string | undefined> {
  return sql<{ migrated: boolean }[]>`SELECT to_regclass('sales') IS NOT NULL AS migrated`.then(
    ([row]) => (row?.migrated ? undefined : 'migrations'),
    () => 'postgres',
  );
}
