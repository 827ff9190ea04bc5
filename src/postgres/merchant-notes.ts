/** The merchant notes of a sale's reservations, as they follow from the history. See domain/merchant-note.ts. */
import { noteOf } from '../domain/merchant-note.ts';
import type { ReservationStatus } from '../domain/reservation.ts';
import { isPart, NAMED_ITEMS, WITHDRAWAL } from '../domain/transition-detail.ts';
import type { Sql, Transaction } from './connection.ts';

/** Small enough that a portion of a rebuild stays small, and that PostgreSQL's transaction is never idle for long. */
const PAGE = 500;

export interface StoredNote {
  position: number;
  note: string;
}

/** Pages, up to an event. A position can occur again, with a later note. */
export async function* readNotes(
  sql: Sql | Transaction,
  saleId: string,
  upTo = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<StoredNote[]> {
  const several = new Set<number>();
  for (let after = 0; ; ) {
    const rows = await sql<(Event & { event: number })[]>`
      SELECT event, split_part(reservation_id, '_', 2)::bigint AS position, status, detail FROM reservation_events
      WHERE sale_id = ${saleId} AND event > ${after} AND event <= ${upTo} AND detail <> ''
        AND (status = 'confirmed' OR strpos(detail, ${NAMED_ITEMS}) > 0
          OR status = 'cancelled' AND strpos(detail, ${WITHDRAWAL}) > 0)
      ORDER BY event LIMIT ${PAGE}`;
    const last = rows.at(-1);
    if (!last) break;
    after = last.event;
    const isConfirmation = ({ status, detail }: Event) =>
      status === 'confirmed' && !isPart({ status, detail });
    yield notesOf(rows.filter(isConfirmation));
    for (const row of rows) if (!isConfirmation(row)) several.add(row.position);
  }
  // These follow from several events.
  const positions = [...several];
  for (let from = 0; from < positions.length; from += PAGE) {
    const notes = await notesAt(sql, saleId, positions.slice(from, from + PAGE), upTo);
    yield Array.from(notes, ([position, note]) => ({ position, note }));
  }
}

/** The notes of these positions as they were after an event. */
export async function notesAt(
  sql: Sql | Transaction,
  saleId: string,
  positions: readonly number[],
  upTo: number,
): Promise<Map<number, string>> {
  const rows = await sql<Event[]>`
    SELECT position, e.status, detail FROM reservations JOIN reservation_events e USING (reservation_id)
    WHERE reservations.sale_id = ${saleId} AND position = ANY(${positions.map(String)}::text[]::bigint[])
      AND event <= ${upTo}
    ORDER BY position, e.version`;
  return new Map(notesOf(rows).map(({ position, note }) => [position, note]));
}

interface Event {
  position: number;
  status: ReservationStatus;
  detail: string;
}

function notesOf(events: readonly Event[]): StoredNote[] {
  const histories = Map.groupBy(events, ({ position }) => position);
  return [...histories].flatMap(([position, history]) => {
    const note = noteOf(history);
    return note === undefined ? [] : [{ position, note }];
  });
}
