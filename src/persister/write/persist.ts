/**
 * Brings one delivery of entries into PostgreSQL and acknowledges it. A batch that PostgreSQL refuses is halved until
 * the guilty events stand alone: only they are set aside, everything else is written.
 */
import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { classifyError, reasonOf } from '../database/postgres-errors.ts';
import type { PersisterMetrics } from '../metrics.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import type { SortedEntries, StreamEvent } from '../stream/entries.ts';
import { deadLetterOfEntry, deadLetterOfEvent, setAside } from './dead-letters.ts';
import { type WriteGuard, type WriteOutcome, writeBatch } from './write-batch.ts';

/** A COPY costs two round trips of its own, which fewer events are not worth. */
const COPIED_EVENTS_MIN = 500;

export interface WriteContext {
  database: Database;
  log: Logger;
  metrics: PersisterMetrics;
}

export interface Persisted {
  outcome: WriteOutcome;
  /** Entries of another format version, left unacknowledged. */
  waiting: SortedEntries['waiting'];
}

/**
 * Throws `StoppingError`, or Redis' error where acknowledging failed: then all is written, and comes again harmlessly. Events
 * go in runs of following numbers; where earlier ones are missing, it ends there with `ahead`.
 */
export async function persist(
  context: WriteContext,
  stream: StreamConsumer,
  sorted: SortedEntries,
  guard: Pick<WriteGuard, 'lock' | 'timeline'>,
): Promise<Persisted> {
  const writeGuard = { ...guard, isCurrent: () => stream.server.isThere };
  const stopTimer = context.metrics.batchSeconds.startTimer();

  for (const entry of sorted.unreadable) {
    const letter = deadLetterOfEntry(stream.saleId, entry);
    const isSetAside = await context.database.run((sql) => setAside(sql, letter, guard));
    if (!isSetAside) return { outcome: 'outdated', waiting: sorted.waiting };
    context.metrics.deadLetters.inc();
    context.log.error({ entryId: entry.entryId }, `set aside an unreadable entry: ${entry.reason}`);
  }
  let outcome: WriteOutcome = 'written';
  const unwritten = new Set<string>();
  for (const run of runsOf(sorted.events)) {
    if (outcome === 'written') {
      const way = run.length < COPIED_EVENTS_MIN ? 'upsert' : 'copy';
      outcome = await writeOrHalve(context, stream.saleId, run, writeGuard, way);
    }
    if (outcome !== 'written') for (const { entryId } of run) unwritten.add(entryId);
  }
  if (outcome !== 'outdated') {
    await stream.acknowledge(sorted.entryIds.filter((entryId) => !unwritten.has(entryId)));
  }
  if (outcome === 'written') stopTimer();
  return { outcome, waiting: sorted.waiting };
}

/** Cut where a number does not follow the one before. Entries come in order, and what came twice may come again. */
function runsOf(events: readonly StreamEvent[]): StreamEvent[][] {
  const runs: StreamEvent[][] = [];
  for (const event of events) {
    const run = runs.at(-1);
    if (run?.at(-1)?.number === event.number - 1) run.push(event);
    else runs.push([event]);
  }
  return runs;
}

async function writeOrHalve(
  context: WriteContext,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
  way: 'copy' | 'upsert',
): Promise<WriteOutcome> {
  try {
    const outcome = await context.database.run((sql) =>
      writeBatch(sql, saleId, events, guard, way),
    );
    if (outcome === 'written') {
      context.metrics.events.inc(events.length);
      context.metrics.batches.inc();
    }
    return outcome;
  } catch (error) {
    if (classifyError(error) !== 'data') throw error;
    // Whatever it is, the way that minds least finds the guilty.
    if (way === 'copy') return writeOrHalve(context, saleId, events, guard, 'upsert');
    if (events.length === 1) return setEventAside(context, events[0]!, guard, error);
  }
  const middle = events.length >> 1;
  const first = await writeOrHalve(context, saleId, events.slice(0, middle), guard, way);
  if (first !== 'written') return first;
  return writeOrHalve(context, saleId, events.slice(middle), guard, way);
}

async function setEventAside(
  context: WriteContext,
  event: StreamEvent,
  guard: WriteGuard,
  cause: unknown,
): Promise<WriteOutcome> {
  const letter = deadLetterOfEvent(event, cause);
  if (!(await context.database.run((sql) => setAside(sql, letter, guard)))) return 'outdated';
  context.metrics.deadLetters.inc();
  context.log.error(
    { entryId: event.entryId, event: event.number, reservationId: event.reservation.reservationId },
    `set aside an event that postgres refuses: ${reasonOf(cause)}`,
  );
  return 'written';
}
