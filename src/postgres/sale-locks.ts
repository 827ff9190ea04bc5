/**
 * Two locks on a sale, held until the transaction ends, also if the holder is killed: one for adding to its history, one
 * for applying sale operations. A recovery takes both.
 */
import { APPLICATION_PREFIX, type Sql, type Transaction } from './connection.ts';

/** Arbitrary numbers, the same in every process. */
const HISTORY = 5_702_418;
const OPERATIONS = 57_024;

/** Waits until no other process writes or recovers the sale. */
export async function lockHistory(transaction: Transaction, saleId: string): Promise<void> {
  await transaction`SELECT pg_advisory_xact_lock(${HISTORY}::int, hashtext(${saleId}))`;
}

/** Waits until no other process applies operations or recovers the sale. */
export async function lockOperations(transaction: Transaction, saleId: string): Promise<void> {
  await transaction`SELECT pg_advisory_xact_lock(${OPERATIONS}::int, hashtext(${saleId}))`;
}

/** Takes both without waiting. False: another process has one of them. */
export async function tryLockSale(transaction: Transaction, saleId: string): Promise<boolean> {
  const [row] = await transaction<{ granted: boolean }[]>`
    SELECT pg_try_advisory_xact_lock(${HISTORY}::int, hashtext(${saleId}))
      AND pg_try_advisory_xact_lock(${OPERATIONS}::int, hashtext(${saleId})) AS granted`;
  return row?.granted === true;
}

/**
 * Ends this engine's sessions that hold such a lock and have sent nothing for `silentMs`: their process is frozen or its
 * connection is broken. PostgreSQL itself only ends sessions that are idle between two statements, not in the middle of
 * one. Returns the number of ended sessions.
 */
export async function endSilentHolders(sql: Sql, silentMs: number): Promise<number> {
  const ended = await sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE ${`${APPLICATION_PREFIX}%`} AND wait_event = 'ClientRead'
      AND state <> 'idle' AND state_change < now() - make_interval(secs => ${silentMs / 1_000})
      AND pid IN (SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid IN (${HISTORY}::int::oid, ${OPERATIONS}::int::oid))`;
  return ended.length;
}
