/** A hot path and a persister as processes, and purchases from that hot path. */
import { Pool } from 'undici';
import type { HotPathClient } from '../../harness/crowds/retrying-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import type { Scope } from '../../harness/use.ts';

export interface PurchasingEngine {
  url: string;
  hotPath: HotPathClient;
  stop(): Promise<void>;
}

export interface EngineChoices {
  redisUrl: string;
  databaseUrl: string;
  durability: string;
  /** To the hot path. */
  connections: number;
}

/** Resolves when both are ready. They also stop with the scope. */
export async function startPurchasingEngine(
  scope: Scope,
  { redisUrl, databaseUrl, durability, connections }: EngineChoices,
): Promise<PurchasingEngine> {
  const environment = {
    REDIS_URL: redisUrl,
    DATABASE_URL: databaseUrl,
    DURABILITY: durability,
    BUYER_AUTH: 'header',
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'fatal',
  };
  const hotPath = await useEngineProcess(scope, 'hot-path', environment);
  const persister = await useEngineProcess(scope, 'persister', environment);
  await Promise.all([hotPath.untilReady(), persister.untilReady()]);
  const pool = new Pool(hotPath.url, { connections });
  return {
    url: hotPath.url,
    hotPath: {
      buy: async (saleId, buyer, { key }) => {
        const response = await pool.request({
          path: `/v1/sales/${saleId}/buy`,
          method: 'POST',
          headers: { 'x-buyer-id': buyer, 'idempotency-key': key },
        });
        const headers = response.headers as Record<string, string>;
        return { status: response.statusCode, headers, body: await response.body.json() };
      },
    },
    stop: async () => {
      await pool.destroy();
      await Promise.all([hotPath.stop(), persister.stop()]);
    },
  };
}
