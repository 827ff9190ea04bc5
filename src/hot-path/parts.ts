/** What one hot path is made of, for its handlers to share. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Shards } from '../redis/shards.ts';
import type { Admission } from './admission.ts';
import type { Batchers } from './batchers.ts';
import type { Live } from './live.ts';
import type { MemoryWatch } from './memory-watch.ts';
import type { HotPathMetrics } from './metrics.ts';
import type { SaleViews } from './sale-views.ts';
import type { SoldOut } from './sold-out.ts';
import type { Traffic } from './traffic.ts';

export interface HotPathParts {
  shards: Shards;
  views: SaleViews;
  memory: MemoryWatch;
  batchers: Batchers;
  soldOut: SoldOut;
  live: Live;
  admission: Admission;
  traffic: Traffic;
  metrics: HotPathMetrics;
  registry: Registry;
  /** What `/metrics` answers. */
  measurements: () => Promise<string>;
  log: Logger;
}
