/** What the admin's handlers depend on. */
import type { Logger } from 'pino';
import type { AdminToken, Role } from '../config.ts';
import type { Pairing } from '../pairing/pairing.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Tracing } from '../process/tracing/tracing.ts';
import type { Shards } from '../redis/shards.ts';
import type { AdminMetrics } from './metrics.ts';

export interface Servers {
  sql: Sql;
  shards: Shards;
  log: Logger;
}

export interface AdminContext extends Servers {
  /** Whether the database belongs to Redis. Nothing is changed while it does not. */
  pairing?: Pairing | undefined;
  tokens: readonly AdminToken[];
  metrics: AdminMetrics;
  /** Undefined while traces are off. */
  tracing?: Tracing | undefined;
  /** Addresses and CIDR ranges whose X-Forwarded-For is trusted. */
  trustedProxies: readonly string[];
  /** Allows webhooks to this machine and without TLS. */
  isDevelopment: boolean;
}

/** Who sends a request: the owner of a token, by the token itself or by a session that began with it. */
export interface Principal {
  role: Role;
  /** Identifies the token in logs and audit: its role and the first 8 hex digits of its SHA-256. */
  actor: string;
}

/** The principal and the request behind a change: stored with every sale operation and audit entry. */
export interface Caller {
  actor: string;
  requestId: string;
}
