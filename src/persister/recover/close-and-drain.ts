/**
 * Closes a sale under a name that only this recovery knows, and writes to PostgreSQL what its stream still has. What
 * PostgreSQL then still lacks is restored from the sale's other keys, see restore/restore.ts.
 */
import { nanoid } from 'nanoid';
import { closeSale } from '../../lua/recover/close-sale.ts';
import { type Examination, examineSale } from '../../lua/recover/examine-sale.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import { type StreamEntry, sortEntries } from '../stream/entries.ts';
import { persist } from '../write/persist.ts';
import { type Retry, retry } from './recovery-log.ts';
import { type Restored, restore } from './restore/restore.ts';
import { type Progress, readProgress, type SaleRecord } from './sale-record.ts';

/** An entry holds one batch of decisions. Under light load that is one decision, so one read takes many entries. */
const ENTRIES_PER_READ = 100;
const START = '0-0';

export interface ClosedSale {
  outcome: 'closed';
  /** While the sale has this name, no other recovery has closed it and nothing has been decided. */
  closing: string;
  /** PostgreSQL's timeline, after the restore. */
  timeline: number;
  /** How the server's decisions relate to PostgreSQL's timeline. */
  history: History;
  /** The stream has entries that this version cannot read, and maybe others behind them. */
  hasUnreadable: boolean;
  /** What PostgreSQL has after the drain. */
  progress: Progress;
  /** What the server has. */
  found: Examination;
  restored: Restored;
}

/**
 * `same`: they belong to it. `newer`: PostgreSQL is older, because a backup was restored. `unknown`: the sale was damaged
 * so that its timeline cannot be read. `older`: they were superseded by a recovery on another server.
 */
type History = 'same' | 'newer' | 'unknown' | 'older';

const RESTORES_MAX = 3;

export async function closeAndDrain(
  context: PersisterContext,
  stream: StreamConsumer,
  record: SaleRecord,
  transaction: Transaction,
): Promise<ClosedSale | Retry> {
  const { saleId, server } = stream;
  const closing = nanoid();
  const reply = await server.call(closeSale, saleId, {
    closing,
    timeline: record.timeline,
    begunAfter: record.closing,
  });
  // Nothing is decided from here on, so this finds everything that the server has.
  const found = await server.call(examineSale, saleId);
  if (found.closing !== closing) {
    return retry(found.isForgotten ? 'redis_forgot_the_sale' : 'closed_by_another_recovery');
  }
  const history = historyOf(reply, found, record.timeline);
  let { timeline } = record;
  let drained: Awaited<ReturnType<typeof drain>> = 'drained';
  let progress = await readProgress(transaction, saleId);
  const restored: Restored = { events: 0, operations: 0, lost: '' };
  for (let restores = 0; ; restores += 1) {
    if (history === 'older') break;
    if (restores > 0 || history !== 'newer') {
      drained = await drain(context, stream, timeline, transaction);
    }
    if (drained === 'outdated') {
      return retry(server.isThere ? 'timeline_changed' : 'connection_lost');
    }
    progress = await readProgress(transaction, saleId);
    if (restores === RESTORES_MAX || !mayLack(progress, record, found, history, restores)) break;
    const step = await restore(context, stream, { ...record, timeline }, transaction, found);
    if (!step) return retry('timeline_changed');
    timeline = Math.max(timeline, found.timeline ?? 0);
    restored.events += step.events;
    restored.operations += step.operations;
    restored.lost = step.lost;
    if (restores > 0 && step.events === 0) break;
  }
  // This transaction reads it, which also proves that the locks still exist.
  progress = await readProgress(transaction, saleId);
  const after = await server.call(examineSale, saleId);
  if (after.closing !== closing) {
    return retry(after.isForgotten ? 'redis_forgot_the_sale' : 'closed_by_another_recovery');
  }
  const hasUnreadable = drained === 'unreadable';
  return {
    outcome: 'closed',
    closing,
    timeline,
    history,
    hasUnreadable,
    progress,
    found,
    restored,
  };
}

function historyOf(
  reply: 'closed' | 'foreign' | 'forgotten',
  { timeline, keys, isForgotten }: Examination,
  postgresTimeline: number,
): History {
  if (reply === 'closed') return 'same';
  if (timeline !== undefined) return timeline > postgresTimeline ? 'newer' : 'older';
  // A server that lost its memory has neither.
  const hasCopy = keys.has('buyers') || keys.has('order') || keys.has('past');
  return isForgotten && !hasCopy ? 'older' : 'unknown';
}

/** Whether the server may hold reservations or operations that PostgreSQL lacks, and that its stream no longer has. */
function mayLack(
  progress: Progress,
  record: SaleRecord,
  found: Examination,
  history: History,
  restores: number,
): boolean {
  if (restores === 0 && (history !== 'same' || record.request > 0 || found.damages.length > 0)) {
    return true;
  }
  // A sale in Redis is at most one operation ahead of PostgreSQL, unless PostgreSQL is older.
  return (
    (found.events ?? progress.events) > progress.events ||
    (found.operation ?? 0) > Math.max(progress.operation, record.lastOperation) ||
    (restores > 0 && history === 'unknown')
  );
}

/** `outdated`: the connection to Redis was lost, or another recovery began a timeline. */
async function drain(
  context: PersisterContext,
  stream: StreamConsumer,
  timeline: number,
  transaction: Transaction,
): Promise<'drained' | 'unreadable' | 'outdated'> {
  await stream.ensureGroup();
  const guard = { lock: 'held', timeline } as const;
  let isUnreadable = false;
  let found: number;
  // Another consumer may read new entries during a pass, so passes repeat until one finds nothing.
  do {
    found = 0;
    for await (const entries of readAll(stream)) {
      // PostgreSQL ends transactions that are idle for long, and their locks with them.
      await transaction`SELECT 1`;
      const sorted = await sortEntries(stream.saleId, entries);
      const { outcome, waiting } = await persist(context, stream, sorted, guard);
      if (outcome !== 'written') return outcome === 'ahead' ? 'unreadable' : outcome;
      isUnreadable ||= waiting.length > 0;
      found += sorted.entryIds.length;
    }
  } while (found > 0);
  return isUnreadable ? 'unreadable' : 'drained';
}

async function* readAll(stream: StreamConsumer): AsyncGenerator<StreamEntry[]> {
  let from = START;
  // Entries that any consumer has read and not acknowledged, dead or alive. Writing them twice is harmless.
  do {
    const page = await stream.claim(0, from, ENTRIES_PER_READ);
    yield page.entries;
    from = page.next;
  } while (from !== START);
  for (;;) {
    const entries = await stream.readNew(ENTRIES_PER_READ);
    if (entries.length === 0) return;
    yield entries;
  }
}
