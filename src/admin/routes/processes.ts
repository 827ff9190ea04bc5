/** What this process says about itself: alive, ready, measured. */
import type { FastifyInstance } from 'fastify';
import { PROCESS_OPERATIONS } from '../../domain/buyer-api.ts';
import { healthBody } from '../../telemetry.ts';
import { answer } from '../answer.ts';
import type { AdminDependencies } from '../dependencies.ts';
import { serveOperation } from '../serve-operation.ts';

/** A probe that takes longer than this is as good as a failed one. */
const PROBE_TIMEOUT_MS = 2_000;

export function serveProcess(app: FastifyInstance, dependencies: AdminDependencies): void {
  const [health, readiness, metrics] = PROCESS_OPERATIONS;

  serveOperation(app, health, async () => answer(200, healthBody([])));

  serveOperation(app, readiness, async () => {
    const missing = await missingOf(dependencies);
    return answer(missing.length > 0 ? 503 : 200, healthBody(missing));
  });

  serveOperation(app, metrics, async () =>
    answer(200, await dependencies.metrics.metrics(), {
      'Content-Type': dependencies.metrics.contentType,
    }),
  );
}

async function missingOf({ sql, shards }: AdminDependencies): Promise<string[]> {
  const missing: string[] = [];
  if (!shards.isReady) missing.push('redis');
  const postgres = await Promise.race([
    sql<{ migrated: boolean }[]>`SELECT to_regclass('sales') IS NOT NULL AS migrated`.then(
      ([row]) => (row?.migrated ? undefined : 'migrations'),
      () => 'postgres',
    ),
    new Promise<string>((resolve) => {
      setTimeout(() => resolve('postgres'), PROBE_TIMEOUT_MS).unref();
    }),
  ]);
  if (postgres) missing.push(postgres);
  return missing;
}
