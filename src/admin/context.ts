/** What the admin's handlers work with: the two servers, and somewhere to say what happened. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { AdminToken } from '../config.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Shards } from '../redis/shards.ts';

export interface Servers {
  sql: Sql;
  shards: Shards;
  log: Logger;
}

export interface AdminContext extends Servers {
  tokens: readonly AdminToken[];
  metrics: Registry;
  /** Whose X-Forwarded-For is believed: addresses and CIDR ranges. */
  trustedProxies: readonly string[];
  /** Webhooks may then go to this machine, and without TLS. */
  isDevelopment: boolean;
}

/** Who asks for a change, and under which request: kept with every operation and every audit entry. */
export interface Caller {
  actor: string;
  requestId: string;
}
