/**
 * An operator restores an older backup of PostgreSQL while the sale goes on, so that Redis is ahead. As the documentation
 * demands, admin does not work until the sale is whole.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backUp } from '../../harness/servers/postgres-backup.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';
import { nowMs } from '../clients/history.ts';
import type { Inspector } from '../server-snapshot.ts';
import type { ChaosStack } from '../stack.ts';

export interface Restore {
  /** PostgreSQL lost what it had got after this, on the clock of the history. */
  backupMs: number;
  restoredMs: number;
}

/** Undefined: PostgreSQL could not be backed up. */
export type Backup = (() => Promise<Restore>) | undefined;

const TRIES = 40;
const RETRY_MS = 250;
/** Longer than persisters need after all other faults. */
const WHOLE_MS_MAX = 60_000;

/** Returns the step that restores the backup, and resolves when the sale is whole. */
export async function takeBackup(stack: ChaosStack, inspector: Inspector): Promise<Backup> {
  const sql = connectPostgres(stack.databaseUrl, { process: 'chaos', connectionsMax: 1 });
  const backupMs = nowMs();
  let restoreRows: () => Promise<void>;
  try {
    restoreRows = await backUp(sql);
  } catch {
    // A fault has killed PostgreSQL.
    await sql.end({ timeout: 1 });
    return undefined;
  }
  return async () => {
    stack.pause('admin');
    try {
      await persistently(restoreRows);
      const restoredMs = nowMs();
      await inspector.untilWhole(stack.endpoints.saleId, WHOLE_MS_MAX);
      return { backupMs, restoredMs };
    } finally {
      stack.resume('admin');
      await sql.end({ timeout: 1 });
    }
  };
}

/** A transaction of a persister may hold a table, and a fault may stop PostgreSQL. */
async function persistently(work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await work();
      return;
    } catch (error) {
      if (attempt === TRIES) throw error;
      await sleep(RETRY_MS);
    }
  }
}
