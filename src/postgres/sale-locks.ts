/**
 * Two locks on a sale, each until the transaction ends, so also when its holder dies: who adds to its history, and who
 * applies operations to it. Recovery takes both: it must have the sale to itself.
 */
import type { Sql, Transaction } from './connection.ts';

/** Any numbers of our own, the same in every process. */
const HISTORY = 5_702_418;
const OPERATIONS = 57_024;

/** Waits for whoever is writing or recovering. */
export async function lockHistory(transaction: Transaction, saleId: string): Promise<void> {
  await transaction`SELECT pg_advisory_xact_lock(${HISTORY}::int, hashtext(${saleId}))`;
}

/** Waits for whoever is applying or recovering. */
export async function lockOperations(transaction: Transaction, saleId: string): Promise<void> {
  await transaction`SELECT pg_advisory_xact_lock(${OPERATIONS}::int, hashtext(${saleId}))`;
}

/** Both, without waiting. False: somebody is at work on the sale. */
export async function tryLockSale(transaction: Transaction, saleId: string): Promise<boolean> {
  const [row] = await transaction<{ granted: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${HISTORY}::int, hashtext(${saleId}))
      AND pg_try_advisory_xact_lock(${OPERATIONS}::int, hashtext(${saleId})) AS granted`;
  return row?.granted === true;
}

/**
 * Ends the sessions of this engine that hold such a lock and have said nothing for so long: their process is frozen, or
 * behind a connection that is dead. PostgreSQL itself ends only those that are idle between two statements, and not
 * those that it waits for in the middle of one. Returns how many.
 */
export async function endSilentHolders(sql: Sql, silentMs: number): Promise<number> {
  const ended = await sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'flash-sale-%' AND wait_event = 'ClientRead'
      AND state <> 'idle' AND state_change < now() - make_interval(secs => ${silentMs / 1_000})
      AND pid IN (SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid IN (${HISTORY}::int::oid, ${OPERATIONS}::int::oid))`;
  return ended.length;
}
