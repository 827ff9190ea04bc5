/**
 * Writes a batch in one transaction: reservations, their history, webhook messages and the checkpoint. New reservations
 * are copied. Events that may be repeated are upserted.
 */
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { enqueueReservations, subscribersOf } from '../../postgres/outbox.ts';
import { lockHistory } from '../../postgres/sale-locks.ts';
import { compareEntryIds, type StreamEvent } from '../stream/entries.ts';
import { copyReservations, isCopied } from './copy-events.ts';
import { insertEvents } from './insert-events.ts';

/**
 * Rejects a slow writer's batch after the sale was recovered. Decisions that Redis has forgotten must not be written once
 * the sale continues from an earlier state.
 */
export interface WriteGuard {
  /**
   * `held`: the recovery that this write is part of has the lock. It may lose it before the write ends, so the write
   * also locks the sale's row: no other timeline can begin before it ends.
   */
  lock: 'take' | 'held';
  /** The timeline of the entries. */
  timeline: number;
  /** Whether the connection that read the entries is still open. */
  isCurrent: () => boolean;
}

/** `outdated`: nothing was written, read the entries again. `ahead`: nothing was written, earlier events are missing. */
export type WriteOutcome = 'written' | 'outdated' | 'ahead';

/**
 * Writes events of one sale with consecutive numbers. Throws PostgreSQL's errors and `NumberTaken`.
 *
 * PostgreSQL always has a prefix of a sale's events, so it has a state that Redis once had, from which the sale can be
 * rebuilt. Events after the prefix are therefore new and can be copied; repeated ones are upserted, whatever `method`.
 */
export async function writeBatch(
  sql: Sql,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
  method: 'copy' | 'upsert',
): Promise<WriteOutcome> {
  return inTransaction<WriteOutcome>(sql, async (transaction) => {
    // One round trip. The queries begin after the lock is granted, so they see what its last holder committed.
    const [, [progress], subscribers] = await Promise.all([
      guard.lock === 'held' || lockHistory(transaction, saleId),
      readProgress(transaction, saleId, guard),
      subscribersOf(transaction, saleId),
    ]);
    if (progress?.timeline !== guard.timeline || !guard.isCurrent()) return 'outdated';
    const [first, last] = [events[0]!, events.at(-1)!];
    if (
      first.number > progress.event + 1 &&
      !(await isGapSetAside(transaction, saleId, progress, first.entryId))
    ) {
      return 'ahead';
    }
    const areNew = first.number > Math.max(progress.event, progress.storedEvent);
    const copied = areNew && method === 'copy' ? events.filter(isCopied) : [];
    const others = copied.length === 0 ? events : events.filter((event) => !isCopied(event));
    // In sequence: nothing else can be sent during a COPY.
    await copyReservations(transaction, copied, +progress.now);
    await Promise.all([
      enqueueReservations(transaction, copied, subscribers),
      insertEvents(transaction, others, { subscribers, areNew }),
      advance(transaction, saleId, last),
    ]);
    return 'written';
  });
}

interface Progress {
  timeline: number;
  event: number;
  entryMs: number;
  entrySequence: number;
  /** The highest number of a stored event. No index has the numbers of first events, but they ascend with positions. */
  storedEvent: number;
  now: Date;
}

function readProgress(
  transaction: Transaction,
  saleId: string,
  { lock }: WriteGuard,
): Promise<Progress[]> {
  return transaction<Progress[]>`
    SELECT sales.timeline, coalesce(event, 0)::bigint AS event, coalesce(entry_ms, 0)::bigint AS entry_ms,
      coalesce(entry_sequence, 0)::bigint AS entry_sequence, clock_timestamp() AS now, greatest(
        (SELECT event FROM reservation_events WHERE sale_id = ${saleId} ORDER BY event DESC LIMIT 1),
        (SELECT first_event FROM reservations WHERE sale_id = ${saleId} ORDER BY position DESC LIMIT 1),
        0)::bigint AS stored_event
    FROM sales LEFT JOIN checkpoints USING (sale_id) WHERE sale_id = ${saleId}
    ${lock === 'held' ? transaction`FOR SHARE OF sales` : transaction``}`;
}

/** Whether an unreadable entry explains the gap. Nobody knows how many events such an entry has. */
async function isGapSetAside(
  transaction: Transaction,
  saleId: string,
  progress: Progress,
  beforeEntry: string,
): Promise<boolean> {
  const letters = await transaction<{ entryId: string }[]>`
    SELECT entry_id FROM dead_letters WHERE sale_id = ${saleId} AND event IS NULL`;
  const after = `${progress.entryMs}-${progress.entrySequence}`;
  return letters.some(
    ({ entryId }) =>
      compareEntryIds(after, entryId) < 0 && compareEntryIds(entryId, beforeEntry) < 0,
  );
}

/** Moves the checkpoint to an event, forward only: claimed entries may have been written before. */
export function advance(
  transaction: Transaction,
  saleId: string,
  { entryId, number }: Pick<StreamEvent, 'entryId' | 'number'>,
): Promise<unknown> {
  const [ms, sequence] = entryId.split('-');
  return transaction`
    INSERT INTO checkpoints AS stored (sale_id, entry_ms, entry_sequence, event)
    VALUES (${saleId}, ${ms!}::text::bigint, ${sequence!}::text::bigint, ${String(number)}::text::bigint)
    ON CONFLICT (sale_id) DO UPDATE
    SET entry_ms = excluded.entry_ms, entry_sequence = excluded.entry_sequence, event = excluded.event,
      updated_at = now()
    WHERE stored.event < excluded.event`;
}
