/** The shape of a check: its input, its finding and its report. */
import { Fault } from '../domain/fault.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Shards } from '../redis/shards.ts';

/** The two servers that are compared. */
export interface Servers {
  sql: Sql;
  shards: Shards;
}

export interface Check {
  /** Stable: programs match it. */
  name: string;
  ok: boolean;
  /** Text for people. */
  expected: string;
  actual: string;
}

/** The input of a check. `state` is the sale in Redis at one moment, whose events PostgreSQL has. */
export interface Verification {
  servers: Servers;
  saleId: string;
  state: SaleState;
  /** Reads Redis again. Rejects with a Fault if Redis is unavailable or no longer has the sale. */
  readState: () => Promise<SaleState>;
  /** The number of the last event in PostgreSQL. */
  readCheckpoint: () => Promise<number>;
}

interface Finding {
  ok: boolean;
  actual: string;
  /** Replaces the definition's text if it depends on the data. */
  expected?: string;
}

export interface CheckDefinition {
  name: string;
  expected: string;
  find: (verification: Verification) => Promise<Finding>;
}

export interface RetryPolicy {
  /** Time for PostgreSQL to get the events that Redis had. */
  catchUpMs: number;
  /** A failing check is repeated up to this many times, with a pause before each. */
  repeats: number;
  pauseMs: number;
}

/** `1 row`, `2 rows`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** The first few findings, as one line of text. */
export function some(findings: readonly string[], countMax = 5): string {
  const rest = findings.length - countMax;
  return findings.slice(0, countMax).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}

/** Awaits a direct Redis command; its error becomes a Fault, as with a script call. */
export async function fromRedis<T>(reply: Promise<T>): Promise<T> {
  try {
    return await reply;
  } catch (error) {
    throw new Fault('not_executed', 'Redis became unavailable during a read', { cause: error });
  }
}
