/**
 * Brings one delivery of entries into PostgreSQL and acknowledges it. A batch that PostgreSQL refuses is halved until
 * the guilty events stand alone: only they are set aside, everything else is written.
 */
import type { Logger } from 'pino';
import type { Database } from './database.ts';
import { deadLetterOfEntry, deadLetterOfEvent, setAside } from './dead-letters.ts';
import { type SortedEntries, type StreamEvent, sortEntries } from './entries.ts';
import type { PersisterMetrics } from './metrics.ts';
import { reasonOf, troubleOf } from './postgres-errors.ts';
import type { Delivery, SaleStream } from './stream.ts';
import { type Checkpoint, type WriteGuard, type WriteOutcome, writeBatch } from './write-batch.ts';

export interface PersistTools {
  database: Database;
  log: Logger;
  metrics: PersisterMetrics;
}

export interface Persisted {
  outcome: WriteOutcome;
  events: number;
  /** Entries of another format version, left unacknowledged. */
  waiting: SortedEntries['waiting'];
}

/** Throws `Closing`, or Redis' error where acknowledging failed: then all is written, and comes again harmlessly. */
export async function persist(
  tools: PersistTools,
  stream: SaleStream,
  delivery: Delivery,
  lock: WriteGuard['lock'],
): Promise<Persisted> {
  const sorted = sortEntries(stream.saleId, delivery.entries);
  const guard = { lock, isCurrent: () => stream.server === delivery.server };
  const stopTimer = tools.metrics.batchSeconds.startTimer();
  const persisted = {
    outcome: 'written' as WriteOutcome,
    events: sorted.events.length,
    waiting: sorted.waiting,
  };

  for (const entry of sorted.unreadable) {
    const letter = deadLetterOfEntry(stream.saleId, entry);
    await tools.database.run((sql) => setAside(sql, letter));
    tools.metrics.deadLetters.inc();
    tools.log.error({ entryId: entry.entryId }, `set aside an unreadable entry: ${entry.reason}`);
  }
  if (sorted.events.length > 0) {
    persisted.outcome = await writeOrHalve(tools, stream.saleId, sorted.events, guard);
  }
  if (persisted.outcome === 'outdated') return persisted;
  await stream.acknowledge(sorted.entryIds);
  stopTimer();
  return persisted;
}

async function writeOrHalve(
  tools: PersistTools,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
): Promise<WriteOutcome> {
  try {
    const batch = { events, checkpoint: checkpointOf(events) };
    const outcome = await tools.database.run((sql) => writeBatch(sql, saleId, batch, guard));
    if (outcome === 'written') {
      tools.metrics.events.inc(events.length);
      tools.metrics.batches.inc();
    }
    return outcome;
  } catch (error) {
    if (troubleOf(error) !== 'data') throw error;
    if (events.length === 1) return setEventAside(tools, events[0]!, error);
  }
  const middle = events.length >> 1;
  const first = await writeOrHalve(tools, saleId, events.slice(0, middle), guard);
  if (first === 'outdated') return first;
  return writeOrHalve(tools, saleId, events.slice(middle), guard);
}

async function setEventAside(
  tools: PersistTools,
  event: StreamEvent,
  cause: unknown,
): Promise<WriteOutcome> {
  await tools.database.run((sql) => setAside(sql, deadLetterOfEvent(event, cause)));
  tools.metrics.deadLetters.inc();
  tools.log.error(
    { entryId: event.entryId, event: event.number, reservationId: event.reservation.reservationId },
    `set aside an event that postgres refuses: ${reasonOf(cause)}`,
  );
  return 'written';
}

/** The last event of the newest entry. Claimed entries come in order too, but not necessarily after what was written. */
function checkpointOf(events: readonly StreamEvent[]): Checkpoint | undefined {
  const last = events.at(-1);
  return last && { entryId: last.entryId, event: last.number };
}
