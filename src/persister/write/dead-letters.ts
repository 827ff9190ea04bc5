/**
 * Dead letters: events and entries that PostgreSQL can never accept, stored with the reason, so that a bad event does not
 * block the ones behind it. Storing one is idempotent. An operator can have one retried.
 */
import { parseEvent } from '../../domain/reservation-codec.ts';
import { inTransaction, type Sql } from '../../postgres/connection.ts';
import { subscribersOf } from '../../postgres/outbox.ts';
import { lockHistory } from '../../postgres/sale-locks.ts';
import type { PersisterContext } from '../context.ts';
import { classifyError, reasonOf } from '../database/postgres-errors.ts';
import { eventsOf, type StreamEvent } from '../stream/entries.ts';
import { insertEvents } from './insert-events.ts';
import { advance, type WriteGuard } from './write-batch.ts';

export interface DeadLetter {
  saleId: string;
  entryId: string;
  /** Null: the whole entry. */
  event: number | null;
  currency: string;
  /** The event's line, or the entry's fields as JSON. */
  payload: string;
  reason: string;
}

/**
 * Stores one and moves the checkpoint past its event, in one transaction. False: the sale is on another timeline, and
 * nothing was done.
 */
export async function setAside(
  { database, metrics }: PersisterContext,
  letter: DeadLetter,
  guard: Pick<WriteGuard, 'lock' | 'timeline'>,
): Promise<boolean> {
  const isSetAside = await database.run((sql) =>
    inTransaction<boolean>(sql, async (transaction) => {
      if (guard.lock === 'take') await lockHistory(transaction, letter.saleId);
      const [sale] = await transaction<{ timeline: number }[]>`
      SELECT timeline FROM sales WHERE sale_id = ${letter.saleId} FOR SHARE`;
      if (sale?.timeline !== guard.timeline) return false;
      await transaction`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES (${letter.saleId}, ${letter.entryId}, ${letter.event}, ${storable(letter.currency)},
        ${storable(letter.payload)}, ${storable(letter.reason)})
      ON CONFLICT (sale_id, entry_id, event) DO NOTHING`;
      const { entryId, event } = letter;
      if (event !== null) await advance(transaction, letter.saleId, { entryId, number: event });
      return true;
    }),
  );
  if (isSetAside) metrics.deadLetters.inc();
  return isSetAside;
}

/** Retries the dead letters that operators requested, one at a time. Persisters share the work. */
export async function retryRequested({ database, log }: PersisterContext): Promise<void> {
  for (;;) {
    const retried = await database.run(retryOne);
    if (!retried) return;
    const { deadLetterId, reason } = retried;
    if (reason === undefined) log.info({ deadLetterId }, 'dead letter resolved');
    else log.warn({ deadLetterId, reason }, 'dead letter rejected again');
  }
}

interface Retried {
  deadLetterId: number;
  /** Undefined: it was written. */
  reason: string | undefined;
}

async function retryOne(sql: Sql): Promise<Retried | undefined> {
  return inTransaction<Retried | undefined>(sql, async (transaction) => {
    const [letter] = await transaction<(DeadLetter & { deadLetterId: number })[]>`
      SELECT dead_letter_id, sale_id, entry_id, event, currency, payload, reason FROM dead_letters
      WHERE retry_requested_at IS NOT NULL AND resolved_at IS NULL
      ORDER BY dead_letter_id LIMIT 1 FOR UPDATE SKIP LOCKED`;
    if (!letter) return undefined;
    const { deadLetterId } = letter;
    await lockHistory(transaction, letter.saleId);
    try {
      await transaction.savepoint(async (savepoint) => {
        const subscribers = await subscribersOf(savepoint, letter.saleId);
        await insertEvents(savepoint, eventsOfLetter(letter), { subscribers, areNew: false });
      });
    } catch (error) {
      if (isServerError(error)) throw error;
      const reason = storable(reasonOf(error));
      await transaction`
        UPDATE dead_letters SET attempts = attempts + 1, reason = ${reason}, retry_requested_at = NULL
        WHERE dead_letter_id = ${deadLetterId}`;
      return { deadLetterId, reason };
    }
    await transaction`
      UPDATE dead_letters SET resolved_at = now() WHERE dead_letter_id = ${deadLetterId}`;
    return { deadLetterId, reason: undefined };
  });
}

/** Throws if the payload still cannot be read. */
function eventsOfLetter(letter: DeadLetter): StreamEvent[] {
  const { saleId, entryId, currency, payload } = letter;
  if (letter.event === null) return eventsOf(saleId, entryId, JSON.parse(payload) as string[]);
  const reservation = parseEvent(payload, { saleId, currency });
  return [{ entryId, number: letter.event, line: () => payload, reservation }];
}

/** Errors without a code come from parsing the payload; those with one from PostgreSQL or its connection. */
function isServerError(error: unknown): boolean {
  const hasCode = error instanceof Error && 'code' in error && error.name !== 'Fault';
  return hasCode && classifyError(error) !== 'data';
}

/** PostgreSQL's text type accepts every character but NUL. */
function storable(text: string): string {
  return text.replaceAll('\0', '\\0');
}
