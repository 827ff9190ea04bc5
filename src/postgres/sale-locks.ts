/**
 * Two locks on a sale, each until the transaction ends, so also when its holder dies: who adds to its history, and who
 * applies operations to it. Recovery takes both: it must have the sale to itself.
 */
import type { Transaction } from './connection.ts';

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
