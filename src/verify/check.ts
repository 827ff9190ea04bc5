/** A check of a promise: its name, what it looks at, what it found. */

import type { Logger } from 'pino';
import type { SaleState } from '../lua/read/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Shards } from '../redis/shards.ts';

/** What is compared, and where to log. */
export interface Servers {
  sql: Sql;
  shards: Shards;
  log: Logger;
}

export interface Check {
  /** Stable, for programs. */
  name: string;
  ok: boolean;
  /** For people. */
  expected: string;
  actual: string;
}

/** What a check looks at: the servers, and the sale in Redis as it was at one moment that PostgreSQL has reached. */
export interface Verification {
  servers: Servers;
  saleId: string;
  state: SaleState;
  /** Reads Redis anew. Rejects with a Fault when it is away, or knows the sale no more. */
  readState: () => Promise<SaleState>;
  /** The number of the last event that PostgreSQL has. */
  readCheckpoint: () => Promise<number>;
}

export interface Finding {
  ok: boolean;
  actual: string;
  /** Where what is expected depends on what is there. */
  expected?: string;
}

export interface CheckDefinition {
  name: string;
  expected: string;
  find: (verification: Verification) => Promise<Finding>;
}

export interface Patience {
  /** For PostgreSQL to come as far as Redis was. */
  catchUpMs: number;
  /** A failing check is run so many times more, with this pause before each. */
  repeats: number;
  pauseMs: number;
}

/** `1 row`, `2 rows`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** The first few of what was found, for a sentence. */
export function some(findings: readonly string[], countMax = 5): string {
  const rest = findings.length - countMax;
  return findings.slice(0, countMax).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}
