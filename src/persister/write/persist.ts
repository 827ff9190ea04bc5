/**
 * Writes one batch of entries to PostgreSQL and acknowledges it. A batch that PostgreSQL rejects is halved until the
 * rejected events stand alone: only they become dead letters, all others are written.
 */
import type { PersisterContext } from '../context.ts';
import { classifyError, reasonOf } from '../database/postgres-errors.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import type { SortedEntries, StreamEvent } from '../stream/entries.ts';
import { setAside } from './dead-letters.ts';
import { traceBatch } from './trace-batch.ts';
import { type WriteGuard, type WriteOutcome, writeBatch } from './write-batch.ts';

/** A COPY needs two round trips of its own; with fewer events an upsert is faster. With 64, a COPY is. */
const COPIED_EVENTS_MIN = 32;

export interface Persisted {
  outcome: WriteOutcome;
  /** Entries of another format version, left pending. */
  waiting: SortedEntries['waiting'];
}

/**
 * Writes the events in runs of consecutive numbers, and ends with `ahead` where earlier ones are missing. Throws
 * `StoppingError`, or Redis' error if the acknowledgement fails: then all is written, and writing it again is harmless.
 */
export async function persist(
  context: PersisterContext,
  stream: StreamConsumer,
  sorted: SortedEntries,
  guard: Pick<WriteGuard, 'lock' | 'timeline'>,
): Promise<Persisted> {
  const writeGuard = { ...guard, isCurrent: () => stream.server.isThere };
  const stopTimer = context.metrics.batchSeconds.startTimer();
  const startedAt = performance.now();

  for (const entry of sorted.unreadable) {
    const { saleId } = stream;
    const isSetAside = await setAside(context, { ...entry, saleId, event: null }, guard);
    if (!isSetAside) return { outcome: 'outdated', waiting: sorted.waiting };
    const { entryId, reason } = entry;
    context.log.error({ saleId, entryId, reason }, 'entry set aside as a dead letter');
  }
  let outcome: WriteOutcome = 'written';
  const unwritten = new Set<string>();
  for (const run of runsOf(sorted.events)) {
    if (outcome === 'written') {
      const method = run.length < COPIED_EVENTS_MIN ? 'upsert' : 'copy';
      outcome = await writeOrBisect(context, stream.saleId, run, writeGuard, method);
    }
    if (outcome !== 'written') for (const { entryId } of run) unwritten.add(entryId);
  }
  if (outcome !== 'outdated') {
    await stream.acknowledge(sorted.entryIds.filter((entryId) => !unwritten.has(entryId)));
  }
  if (outcome === 'written') {
    stopTimer();
    if (context.tracing) traceBatch(context.tracing, stream.saleId, sorted.events, startedAt);
  }
  return { outcome, waiting: sorted.waiting };
}

/** Splits where a number does not follow the one before: entries come in order, but may be repeated. */
function runsOf(events: readonly StreamEvent[]): StreamEvent[][] {
  const runs: StreamEvent[][] = [];
  for (const event of events) {
    const run = runs.at(-1);
    if (run?.at(-1)?.number === event.number - 1) run.push(event);
    else runs.push([event]);
  }
  return runs;
}

async function writeOrBisect(
  context: PersisterContext,
  saleId: string,
  events: readonly StreamEvent[],
  guard: WriteGuard,
  method: 'copy' | 'upsert',
): Promise<WriteOutcome> {
  try {
    const outcome = await context.database.run((sql) =>
      writeBatch(sql, saleId, events, guard, method),
    );
    if (outcome === 'written') {
      context.metrics.events.inc(events.length);
      context.metrics.batches.inc();
    }
    return outcome;
  } catch (error) {
    if (classifyError(error) !== 'data') throw error;
    // Upserts accept more than a COPY, so they find the events that PostgreSQL really rejects.
    if (method === 'copy') return writeOrBisect(context, saleId, events, guard, 'upsert');
    if (events.length === 1) return setEventAside(context, events[0]!, guard, error);
  }
  const middle = events.length >> 1;
  const first = await writeOrBisect(context, saleId, events.slice(0, middle), guard, method);
  if (first !== 'written') return first;
  return writeOrBisect(context, saleId, events.slice(middle), guard, method);
}

async function setEventAside(
  context: PersisterContext,
  event: StreamEvent,
  guard: WriteGuard,
  cause: unknown,
): Promise<WriteOutcome> {
  const { entryId, number, reservation } = event;
  const { saleId, currency, reservationId } = reservation;
  const reason = reasonOf(cause);
  const letter = { saleId, entryId, event: number, currency, payload: event.line(), reason };
  if (!(await setAside(context, letter, guard))) return 'outdated';
  context.log.error(
    { entryId, event: number, reservationId, err: cause },
    'event set aside as a dead letter',
  );
  return 'written';
}
