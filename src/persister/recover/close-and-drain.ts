/** Closes a sale under a name that only this recovery knows, and writes what its stream still has to PostgreSQL. */
import { nanoid } from 'nanoid';
import { readSale, type SaleState } from '../../lua/read/read-sale.ts';
import { closeSale } from '../../lua/recover/close-sale.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { PersisterContext } from '../context.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import { type StreamEntry, sortEntries } from '../stream/entries.ts';
import { persist } from '../write/persist.ts';
import { type Retry, retry } from './recovery-log.ts';
import { type Progress, readProgress, type SaleRecord } from './sale-record.ts';

/** An entry holds one batch of decisions. Under light load that is one decision, so one read takes many entries. */
const ENTRIES_PER_READ = 100;
const START = '0-0';

export interface ClosedSale {
  outcome: 'closed';
  /** While the sale has this name, no other recovery has closed it and nothing has been decided. */
  closing: string;
  /** The server's decisions belong to PostgreSQL's timeline. False: they do not, or the server has forgotten the sale. */
  isSameTimeline: boolean;
  /** The stream has entries that this version cannot read, and maybe others behind them. */
  hasUnreadable: boolean;
  /** What PostgreSQL has after the drain. */
  progress: Progress;
  /** What the server has. Undefined: it has forgotten the sale. */
  state: SaleState | undefined;
}

export async function closeAndDrain(
  context: PersisterContext,
  stream: StreamConsumer,
  record: SaleRecord,
  transaction: Transaction,
): Promise<ClosedSale | Retry> {
  const { saleId, server } = stream;
  const closing = nanoid();
  const { timeline, closing: begunAfter } = record;
  const reply = await server.call(closeSale, saleId, { closing, timeline, begunAfter });
  const isSameTimeline = reply === 'closed';
  // Nothing is decided from here on, so the drain finds everything that this server has.
  const drained = isSameTimeline ? await drain(context, stream, timeline, transaction) : 'drained';
  if (drained === 'outdated') {
    return retry(server.isThere ? 'timeline_changed' : 'connection_lost');
  }
  // This transaction reads it, which also proves that the locks still exist.
  const progress = await readProgress(transaction, saleId);
  const found = await server.call(readSale, saleId);
  const state = found.outcome === 'unknown_sale' ? undefined : found.state;
  const expected = reply === 'forgotten' ? '' : closing;
  if ((state?.closing ?? '') !== expected) {
    return retry(state ? 'closed_by_another_recovery' : 'redis_forgot_the_sale');
  }
  const hasUnreadable = drained === 'unreadable';
  return { outcome: 'closed', closing, isSameTimeline, hasUnreadable, progress, state };
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
