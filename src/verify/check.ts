/** The shape of a check: its input, its finding and its report. */
import type { ChainableCommander } from 'ioredis';
import { Fault } from '../domain/fault.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import { inTransaction, type Sql, type Transaction } from '../postgres/connection.ts';
import { faultCodeOf } from '../redis/connection.ts';
import type { Shards } from '../redis/shards.ts';
import type { CheckName } from './catalogue.ts';

/** The two servers that are compared. */
export interface Servers {
  sql: Sql;
  shards: Shards;
}

export interface Check {
  /** Stable: programs match it. */
  name: CheckName;
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
  /** Both wait until PostgreSQL has all up to a number that Redis had. Return why not, if that takes too long. */
  waitForEvent: (event: number) => Promise<string | undefined>;
  waitForOperation: (operation: number) => Promise<string | undefined>;
  /** Waits for a sweep, for the same time in total. Returns what `findObstacle` still returns then. */
  waitForSweep: (findObstacle: () => Promise<string | undefined>) => Promise<string | undefined>;
}

interface Finding {
  ok: boolean;
  actual: string;
  /** Replaces the definition's text if it depends on the data. */
  expected?: string;
}

export interface CheckDefinition {
  name: CheckName;
  expected: string;
  /** One query of one server decides it, so a violation stays, however busy the sale is. Others are repeated. */
  isExact?: true;
  find: (verification: Verification) => Promise<Finding>;
}

export interface RetryPolicy {
  /** Time for PostgreSQL to get the events that Redis had. */
  catchUpMs: number;
  /** A failing check is repeated up to this many times, with a pause before each. */
  repeats: number;
  pauseMs: number;
}

/** How far a verification is. Its parts come one after the other, and may begin again. */
export interface Progress {
  part: 'catching up' | 'checks' | 'reservations';
  done: number;
  /** 0: unknown. */
  of: number;
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

/** Counts violations and keeps the first few, so that a sale that is broken everywhere needs no more memory. */
export class Violations {
  static readonly #KEPT = 5;
  readonly #first: string[] = [];
  count = 0;

  add(text: string): void {
    this.count += 1;
    if (this.#first.length < Violations.#KEPT) this.#first.push(text);
  }

  toString(): string {
    const rest = this.count - this.#first.length;
    return this.#first.join('; ') + (rest > 0 ? `; and ${rest} more` : '');
  }
}

export function notCompared(why: string) {
  return { ok: false, actual: `not compared: ${why}` };
}

export function noneOf(wrong: readonly string[], sound = 'no violation') {
  return { ok: wrong.length === 0, actual: wrong.length === 0 ? sound : some(wrong) };
}

/**
 * For queries that join all reservations of a sale. A sale grows faster than PostgreSQL gathers statistics, and a plan for
 * one row takes the square of the time; hashes take about the same time for any number.
 */
export function withHashJoins<T>(sql: Sql, query: (tx: Transaction) => Promise<T>): Promise<T> {
  return inTransaction(sql, async (tx) => {
    // Where only a nested loop is possible, its nominal cost would make PostgreSQL compile the query for seconds.
    await tx`SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)`;
    return query(tx);
  });
}

/** Awaits a direct Redis command; its error becomes a Fault, as with a script call. */
export async function fromRedis<T>(reply: Promise<T>): Promise<T> {
  try {
    return await reply;
  } catch (error) {
    const code = faultCodeOf(error);
    throw new Fault(code, 'Redis became unavailable during a read', { cause: error });
  }
}

/** Runs the commands as one transaction, so that their replies show one moment. */
export async function inOneStep(transaction: ChainableCommander): Promise<unknown[]> {
  return fromRedis(
    transaction.exec().then((replies) => {
      if (!replies) throw new Error('the transaction was not executed');
      return replies.map(([error, reply]) => {
        if (error) throw error;
        return reply;
      });
    }),
  );
}
