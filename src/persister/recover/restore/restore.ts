/**
 * Restores to PostgreSQL what only Redis still has: after a backup of PostgreSQL was restored, or after a part of the
 * stream was lost. Records have the state of each reservation, so rows are exact; the history of missing versions gets
 * the missing event numbers, in the order of positions, with the detail `restored`.
 *
 * Afterwards PostgreSQL has a prefix of the history again, and the drain continues with what the stream has.
 */
import { type Reservation, sourceOf } from '../../../domain/reservation.ts';
import { waitlistHoldSecondsOf } from '../../../domain/sale.ts';
import type { Examination } from '../../../lua/recover/examine-sale.ts';
import { inTransaction, type Sql, type Transaction } from '../../../postgres/connection.ts';
import { subscribersOf } from '../../../postgres/outbox.ts';
import type { PersisterContext } from '../../context.ts';
import type { StreamConsumer } from '../../stream/consumer.ts';
import type { StreamEvent } from '../../stream/entries.ts';
import { insertEvents, upsertNewest } from '../../write/insert-events.ts';
import { advance } from '../../write/write-batch.ts';
import type { SaleRecord } from '../sale-record.ts';
import {
  EMPTY_STREAM,
  readNotes,
  readPositions,
  readRecords,
  readStream,
  versionKey,
  withdrawnUnits,
} from './redis-copy.ts';
import { restoreOperations } from './restore-operations.ts';
import { type Change, historyOf, restoredChanges, restoredEvent } from './restored-events.ts';
import { readStored, type Stored } from './stored.ts';

const EVENTS_PER_STATEMENT = 1_000;
const POSITIONS_SHOWN_MAX = 20;

export interface Restored {
  /** Events and sale operations that were written. */
  events: number;
  operations: number;
  /** Positions that buyers were given and of which neither server has a record, as text; empty: none. */
  lost: string;
}

/** Undefined: the timeline or the checkpoint has changed. */
export async function restore(
  context: PersisterContext,
  stream: StreamConsumer,
  record: SaleRecord,
  transaction: Transaction,
  found: Examination,
): Promise<Restored | undefined> {
  const { saleId } = stream;
  const stored = await readStored(transaction, saleId);
  const { numbers, versions, changes, lastEntryId, withdrawals } = found.keys.has('events')
    ? await readStream(stream, stored.checkpoint)
    : { ...EMPTY_STREAM };
  const lacking = new Map<string, Reservation>();
  const known = new Set<number>();
  for await (const page of readRecords(stream, found, stored.currency)) {
    await transaction`SELECT 1`;
    for (const reservation of page) {
      known.add(reservation.position);
      const row = stored.rows.get(reservation.position);
      // A position of another history. PostgreSQL's stays.
      if (row && row.reservationId !== reservation.reservationId) continue;
      if ((row?.version ?? 0) < reservation.version) {
        lacking.set(reservation.reservationId, reservation);
      }
    }
  }
  const lost = await findLost(stream, found, stored, known);

  const notes = await readNotes(stream, found, [...lacking.values()]);
  const holdMs = holdMsOf(found, stored);
  const times = { nowMs: found.nowMs, extensionMs: holdMs.extension };
  const history = await historyOf(transaction, [...lacking.keys()]);
  const missing: { reservation: Reservation; version: number; change: Change }[] = [];
  const rowsOnly: StreamEvent[] = [];
  const sorted = [...lacking.values()].toSorted((a, b) => a.position - b.position);
  for (const reservation of sorted) {
    const { reservationId, position, version: newest, status } = reservation;
    const events = [...(history.get(reservationId) ?? []), ...(changes.get(reservationId) ?? [])];
    const inHistory = new Set(history.get(reservationId)?.map(({ version }) => version));
    const lostVersions: number[] = [];
    for (let version = 1; version <= newest; version += 1) {
      const key = versionKey(reservationId, version);
      if (stored.letters.versions.has(`${position} ${version}`) || versions.has(key)) continue;
      if (!inHistory.has(version)) lostVersions.push(version);
      else if (version === newest) {
        const change = { status, detail: 'restored' };
        rowsOnly.push(restoredEvent(reservation, version, 0, times, change));
      }
    }
    const note = notes.get(position) ?? '';
    for (const [index, change] of restoredChanges(
      reservation,
      lostVersions,
      note,
      events,
      reservation.expiresAt - reservation.reservedAt > holdMs[sourceOf(reservation)],
    ).entries())
      missing.push({ reservation, version: lostVersions[index]!, change });
  }
  const lastNumber = Math.max(found.events ?? 0, stored.checkpoint, ...lastOf(numbers));
  const free = await freeNumbers(transaction, saleId, stored, numbers, lastNumber);
  const nextInStream = firstAfter(numbers, stored.checkpoint);
  // More versions than numbers: the sale's counters are damaged too. They follow once the stream is drained.
  const events = missing.flatMap(({ reservation, version, change }, index) => {
    const extra = nextInStream === undefined ? lastNumber + 1 + index - free.length : undefined;
    const number = free[index] ?? extra;
    if (number === undefined) return [];
    return [restoredEvent(reservation, version, number, times, change)];
  });
  // A number without any event is damage, unless the event is in an entry that could not be read.
  const lastWritten = Math.max(
    stored.checkpoint,
    ...stored.letters.numbers,
    events.at(-1)?.number ?? 0,
  );
  const last = stored.letters.hasUnnumbered ? Math.max(lastNumber, lastWritten) : lastWritten;
  const reached = nextInStream === undefined ? last : nextInStream - 1;

  const pool = (sql: Sql) =>
    inTransaction(sql, async (tx) => {
      const [sale] = await tx<{ timeline: number; event: number }[]>`
        SELECT timeline, coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS event
        FROM sales WHERE sale_id = ${saleId} FOR UPDATE`;
      if (sale?.timeline !== record.timeline || sale.event !== stored.checkpoint) return undefined;
      if (found.timeline !== undefined && found.timeline > record.timeline) {
        // PostgreSQL has the timeline of its backup. From here on it is on the one that the sale was opened on.
        await tx`UPDATE sales SET timeline = ${found.timeline} WHERE sale_id = ${saleId}`;
      }
      // Their events are written later than the operations.
      const later = withdrawnUnits([
        ...withdrawals,
        ...events.map(({ reservation }) => reservation),
      ]);
      const operations = await restoreOperations(tx, saleId, found, later);
      const subscribers = await subscribersOf(tx, saleId);
      for (let from = 0; from < events.length; from += EVENTS_PER_STATEMENT) {
        const some = events.slice(from, from + EVENTS_PER_STATEMENT);
        await insertEvents(tx, some, { subscribers, areNew: true });
      }
      for (let from = 0; from < rowsOnly.length; from += EVENTS_PER_STATEMENT) {
        await upsertNewest(tx, rowsOnly.slice(from, from + EVENTS_PER_STATEMENT));
      }
      if (reached > stored.checkpoint) {
        const entryId = lastEntryId ?? `${found.nowMs}-0`;
        await advance(tx, saleId, { entryId, number: reached });
      }
      return operations;
    });
  const operations = await context.database.runOnce(pool);
  if (operations === undefined) return undefined;
  return { events: events.length + rowsOnly.length, operations, lost };
}

function lastOf(numbers: ReadonlySet<number>): number[] {
  let last = 0;
  for (const number of numbers) last = Math.max(last, number);
  return [last];
}

function firstAfter(numbers: ReadonlySet<number>, checkpoint: number): number | undefined {
  let first: number | undefined;
  for (const number of numbers) {
    if (number > checkpoint && number < (first ?? Number.POSITIVE_INFINITY)) first = number;
  }
  return first;
}

/** Redis may have a newer definition. */
function holdMsOf({ definition }: Examination, stored: Stored): Stored['holdMs'] {
  if (!definition) return stored.holdMs;
  const purchase = 1_000 * definition.holdSeconds;
  const waitlist = 1_000 * waitlistHoldSecondsOf(definition);
  return { purchase, waitlist, extension: purchase };
}

/** The event numbers up to the last one that neither PostgreSQL nor the stream has, ascending. */
async function freeNumbers(
  transaction: Transaction,
  saleId: string,
  stored: Stored,
  inStream: ReadonlySet<number>,
  last: number,
): Promise<number[]> {
  const rows = await transaction<{ number: number }[]>`
    SELECT number::bigint FROM generate_series(1, ${last}::bigint) AS number
    WHERE NOT EXISTS (SELECT FROM reservation_history WHERE sale_id = ${saleId} AND event = number)
    ORDER BY number`;
  return rows
    .map(({ number }) => number)
    .filter((number) => !inStream.has(number) && !stored.letters.numbers.has(number));
}

/** Positions that were given to buyers and that neither server has a record of, as text. */
async function findLost(
  stream: StreamConsumer,
  found: Examination,
  { rows, letters }: Stored,
  known: ReadonlySet<number>,
): Promise<string> {
  const lost: number[] = [];
  for await (const page of readPositions(stream, found)) {
    for (const position of page) {
      if (rows.has(position) || known.has(position) || letters.positions.has(position)) continue;
      lost.push(position);
    }
  }
  const rest = lost.length - POSITIONS_SHOWN_MAX;
  const shown = lost.slice(0, POSITIONS_SHOWN_MAX).join(', ');
  return rest > 0 ? `${shown} and ${rest} more` : shown;
}
