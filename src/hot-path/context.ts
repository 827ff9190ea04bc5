/** What one hot path is made of, for its handlers to share. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Shards } from '../redis/shards.ts';
import type { Admission } from './admission/admission.ts';
import type { Batchers } from './buy/batchers.ts';
import type { ServerLoad } from './http/server-load.ts';
import type { Live } from './live/live.ts';
import type { HotPathMetrics } from './metrics/metrics.ts';
import type { MemoryPressure } from './sales/memory-pressure.ts';
import type { SaleViews } from './sales/sale-views.ts';
import type { SoldOut } from './sales/sold-out.ts';

export interface HotPathContext {
  shards: Shards;
  views: SaleViews;
  memory: MemoryPressure;
  batchers: Batchers;
  soldOut: SoldOut;
  live: Live;
  admission: Admission;
  traffic: ServerLoad;
  metrics: HotPathMetrics;
  registry: Registry;
  /** What `/metrics` answers. */
  measurements: () => Promise<string>;
  log: Logger;
}
