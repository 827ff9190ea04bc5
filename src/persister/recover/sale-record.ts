/** What PostgreSQL stores of a sale's timeline, and what a recovery changes of it. */
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { wasInRedis } from '../../postgres/sale-definition.ts';
import { type SettledOperation, settleOperation } from '../../postgres/settle-operation.ts';
import type { Database } from '../database/database.ts';
import type { StreamConsumer } from '../stream/consumer.ts';

export interface SaleRecord {
  timeline: number;
  /** The closing id of the recovery that began the timeline: PostgreSQL has everything of its server. Empty: none. */
  closing: string;
  positionFloor: number;
  /** The last operation that was recorded, applied or not. */
  lastOperation: number;
  /** The lost positions that the last recovery reported, see restore/restore.ts. */
  reportedLost: string;
  /** See `wasInRedis` in postgres/sale-definition.ts. */
  wasInRedis: boolean;
  /** The newest open request of an operator to recover the sale; 0: none. */
  request: number;
}

/** Undefined: there is no such sale, or it is archived, so Redis need not have it. */
export async function readRecord(
  sql: Sql | Transaction,
  saleId: string,
): Promise<SaleRecord | undefined> {
  const [row] = await sql<SaleRecord[]>`
    SELECT timeline, closing, position_floor, last_operation,
      coalesce((SELECT report->>'lost' FROM sale_recoveries WHERE sale_id = ${saleId} AND state = 'done'
        ORDER BY recovery_id DESC LIMIT 1), '') AS reported_lost,
      ${wasInRedis(sql, saleId)} AS was_in_redis,
      coalesce((SELECT max(recovery_id) FROM sale_recoveries
        WHERE sale_id = ${saleId} AND state = 'requested'), 0)::bigint AS request
    FROM sales WHERE sale_id = ${saleId} AND archived_at IS NULL`;
  return row;
}

/** The last event, operation and position that PostgreSQL has. */
export interface Progress {
  events: number;
  operation: number;
  position: number;
}

export async function readProgress(transaction: Transaction, saleId: string): Promise<Progress> {
  const [row] = await transaction<Progress[]>`
    SELECT coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS events,
      coalesce((SELECT max(operation) FROM sale_operations
        WHERE sale_id = ${saleId} AND outcome <> 'pending'), 0)::bigint AS operation,
      coalesce((SELECT max(position) FROM reservations WHERE sale_id = ${saleId}), 0)::bigint AS position`;
  return row!;
}

/** Dead letters that an operator discarded and whose events are in no history. */
export async function countDiscarded(transaction: Transaction, saleId: string): Promise<number> {
  const [row] = await transaction<{ count: number }[]>`
    SELECT count(*) AS count FROM dead_letters letter
    WHERE sale_id = ${saleId} AND discard_reason IS NOT NULL AND NOT EXISTS (
      SELECT FROM reservation_history WHERE sale_id = letter.sale_id AND event = letter.event)`;
  return row!.count;
}

/**
 * Begins the next timeline, only after the one that was compared. Undefined: the sale was deleted or another recovery
 * began a timeline. It commits on a connection of its own, before the sale opens: the recovery's locks end with theirs.
 *
 * A recovery that fails later has used up a number. The next try must get another one, so that late calls
 * of the first try are not accepted as calls of the second. The fence column is for people who query the table.
 */
export async function beginTimeline(
  database: Database,
  { saleId, server }: StreamConsumer,
  next: { after: number; above: number; closing: string },
): Promise<number | undefined> {
  const [row] = await database.run(
    (sql) => sql<{ timeline: number }[]>`
      UPDATE sales SET timeline = greatest(timeline, ${next.above}::bigint) + 1, fence = ${server.runId}, closing = ${next.closing}
      WHERE sale_id = ${saleId} AND timeline = ${next.after} RETURNING timeline`,
  );
  return row?.timeline;
}

/**
 * Ensures that no position up to `floor` is assigned again. False: another recovery began a timeline. It commits right
 * before the sale opens: after a recovery that fails earlier, no buyer has seen a new position, so the next one skips the same ones.
 *
 * The operations that a rebuild includes are settled with it: a sale in Redis may be at most one operation ahead.
 */
export async function settleBeforeOpening(
  database: Database,
  saleId: string,
  { timeline, floor }: { timeline: number; floor: number },
  countedIn: readonly SettledOperation[] = [],
): Promise<boolean> {
  return database.run((sql) =>
    inTransaction(sql, async (transaction) => {
      const { count } = await transaction`
        UPDATE sales SET position_floor = ${floor}
        WHERE sale_id = ${saleId} AND timeline = ${timeline}`;
      if (count === 0) return false;
      for (const operation of countedIn) await settleOperation(transaction, saleId, operation);
      return true;
    }),
  );
}
