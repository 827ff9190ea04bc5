/** Faults in PostgreSQL that a test causes: outages, locks, rejected rows. Also shows whether a session waits. */
import assert from 'node:assert/strict';
import type { Sql } from '../../src/postgres/connection.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import type { Connections } from './connections.ts';
import type { TestPostgres } from './postgres.ts';

/** Stops or freezes PostgreSQL until the returned function is called, at the latest until the scope ends. */
export async function useOutage(
  scope: Scope,
  postgres: TestPostgres,
  how: 'stopped' | 'frozen',
): Promise<() => Promise<void>> {
  let isOver = false;
  async function end(): Promise<void> {
    if (isOver) return;
    isOver = true;
    if (how === 'stopped') await postgres.start();
    else postgres.resume();
  }
  await use(scope, async () => {
    if (how === 'stopped') await postgres.shutDown();
    else postgres.pause();
    return { end };
  });
  return end;
}

/** Makes PostgreSQL reject reservations for which the condition is false. Returns a function that allows them again. */
export async function rejectRowsUnless(
  scope: Scope,
  sql: Sql,
  condition: string,
): Promise<() => Promise<void>> {
  async function end(): Promise<void> {
    await sql`ALTER TABLE reservations DROP CONSTRAINT IF EXISTS no_poison`;
  }
  await use(scope, async () => {
    await sql.unsafe(
      `ALTER TABLE reservations ADD CONSTRAINT no_poison CHECK (${condition}) NOT VALID`,
    );
    return { end };
  });
  return end;
}

/** Locks a table against writes. Returns a function that releases the lock. */
export async function lockTable({ sql }: Pick<Connections, 'sql'>, table: string, mode: string) {
  const session = await sql.reserve();
  await session.unsafe(`BEGIN; LOCK TABLE ${table} IN ${mode} MODE`);
  return async () => {
    await session`COMMIT`;
    session.release();
  };
}

/** Holds the lock that every write of the sale's history takes. Returns a function that releases it. */
export async function lockSaleHistory({ sql }: Pick<Connections, 'sql'>, saleId: string) {
  const session = await sql.reserve();
  await session`SELECT pg_advisory_lock(5702418, hashtext(${saleId}))`;
  return async () => {
    await session`SELECT pg_advisory_unlock(5702418, hashtext(${saleId}))`;
    session.release();
  };
}

/** Sessions of this database that wait for a lock in a statement with this text. */
export async function waitingForLock(
  { sql }: Pick<Connections, 'sql'>,
  statement: string,
): Promise<number[]> {
  const rows = await sql<{ pid: number }[]>`
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE ${`%${statement}%`}`;
  return rows.map(({ pid }) => pid);
}

/** Waits until a session waits for a lock in such a statement. */
export async function untilWaitingForLock(
  servers: Pick<Connections, 'sql'>,
  statement: string,
): Promise<void> {
  await eventually(async () => {
    assert.notEqual((await waitingForLock(servers, statement)).length, 0, statement);
  });
}

/** Waits until one session is in `pg_sleep`, which a trigger of the test calls. */
export async function untilSleeping({ sql }: Pick<Connections, 'sql'>): Promise<void> {
  await eventually(async () => {
    const sleeping = await sql`
      SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;
    assert.equal(sleeping.length, 1);
  });
}
