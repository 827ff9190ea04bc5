/** What this process says about itself: alive, ready, measured. */
import type { FastifyInstance } from 'fastify';
import { PROCESS_OPERATIONS } from '../api/process-operations.ts';
import { healthBody } from '../process/health-server.ts';
import type { AdminContext } from './context.ts';
import { respond } from './http/outcome.ts';
import { serveOperation } from './http/serve-operation.ts';

/** A probe that takes longer than this is as good as a failed one; those who probe us give up after 2 s. */
const PROBE_TIMEOUT_MS = 1_000;

export function serveHealth(app: FastifyInstance, context: AdminContext): void {
  const [health, readiness, metrics] = PROCESS_OPERATIONS;

  serveOperation(app, health, async () => respond(200, healthBody([])));

  // PostgreSQL has to be there once, migrated. Later it may go: merchants need none, and taken out of service for it
  // no admin could be reached by them.
  let hasBegun = false;
  const askPostgres = createPostgresProbe(context);
  serveOperation(app, readiness, async () => {
    const postgres = await askPostgres();
    const missing = [
      ...(context.shards.isReady ? [] : ['redis']),
      ...(postgres === undefined ? [] : [postgres]),
    ];
    hasBegun ||= missing.length === 0;
    const isReady = hasBegun ? !missing.includes('redis') : missing.length === 0;
    return respond(isReady ? 200 : 503, {
      ...healthBody(missing),
      status: isReady ? 'ok' : 'unready',
    });
  });

  serveOperation(app, metrics, async () =>
    respond(200, await context.metrics.metrics(), {
      'Content-Type': context.metrics.contentType,
    }),
  );
}

/** Says what is missing. While there is no answer to one question, no other is asked. */
function createPostgresProbe({ sql }: AdminContext): () => Promise<string | undefined> {
  let asked: Promise<string | undefined> | undefined;
  return () => {
    asked ??= sql<{ migrated: boolean }[]>`SELECT to_regclass('sales') IS NOT NULL AS migrated`
      .then(
        ([row]) => (row?.migrated ? undefined : 'migrations'),
        () => 'postgres',
      )
      .finally(() => {
        asked = undefined;
      });
    const late = new Promise<string>((resolve) => {
      setTimeout(() => resolve('postgres'), PROBE_TIMEOUT_MS).unref();
    });
    return Promise.race([asked, late]);
  };
}
