/** What the parts of the persister depend on. */
import type { Logger } from 'pino';
import type { CommonConfig } from '../config.ts';
import type { TargetRules } from '../domain/webhook-target.ts';
import type { Pairing } from '../pairing/pairing.ts';
import type { Tracing } from '../process/tracing/tracing.ts';
import type { Shards } from '../redis/shards.ts';
import type { Database } from './database/database.ts';
import type { PersisterMetrics } from './metrics.ts';
import type { Timings } from './timings.ts';

export interface PersisterContext {
  shards: Shards;
  /** Whether the database belongs to Redis. Nothing is done while it does not. */
  pairing: Pairing;
  database: Database;
  log: Logger;
  metrics: PersisterMetrics;
  /** Undefined while traces are off. */
  tracing: Tracing | undefined;
  timings: Timings;
  stopping: AbortSignal;
  /** The name of this process in the consumer groups. */
  consumer: string;
  durability: CommonConfig['DURABILITY'];
  /** More than the positions that Redis can have assigned without PostgreSQL receiving one of them. */
  positionsSkipped: number;
  webhookTargets: TargetRules;
}
